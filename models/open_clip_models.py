"""CLIP models of open_clip as encoders of patches and texts, by the names they have there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.encoders import Runtime
from tumorbase.models.hub_model import HUB, HubModel, hub_model
from tumorbase.models.patch_encoders import PatchEncoder
from tumorbase.models.patch_tower import PatchPreprocessing
from tumorbase.models.published import HubFile, Weights

PREFIX = "open-clip-"
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # of a repository's weights


def open_clip_network(model: str) -> nn.Module:
    """A model of open_clip, both towers of it.

    Args:
        model: name there, with or without the name of its weights: "ViT-B-32" or
            "ViT-B-32.laion2b_s34b_b79k"; or a repository of the hub, as of `hub_model`.

    Raises:
        ValueError: open_clip knows no such model or weights, or its text tower is one of the hub's.
    """
    known = _known(model)
    config = copy.deepcopy(dict(known.config))
    if known.published.get("quick_gelu"):  # of OpenAI's weights; the model's name does not tell
        config["quick_gelu"] = True
    # By hand, for open_clip's own factory warns of random weights, though others come later.
    if not config.pop("custom_text", False):
        return open_clip.CLIP(**config)
    return (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP)(**config)


def open_clip_preprocessing(model: str) -> PatchPreprocessing:
    """What open_clip does to images for these weights, or for the model's usual ones.

    Raises:
        ValueError: as `open_clip_network`, or the images are not square.
    """
    known = _known(model)
    side = known.config["vision_cfg"]["image_size"]
    if not isinstance(side, int):
        raise ValueError(f"{model}: expected square images, got {side}")
    how = merge_preprocess_dict(PreprocessCfg(), known.published)
    return PatchPreprocessing(
        resize_px=side,
        crop_px=side,
        mean=tuple(how["mean"]),
        std=tuple(how["std"]),
        interpolation=how["interpolation"],
    )


def open_clip_weights(name: str) -> Weights:
    """The weights of the encoder `name`: "open-clip-" and a model of open_clip.

    Raises:
        ValueError: as `open_clip_preprocessing`.
    """
    model = name.removeprefix(PREFIX)
    known = _known(model)
    return Weights(
        name=name,
        network="open_clip",
        dim=known.config["embed_dim"],
        preprocessing=open_clip_preprocessing(model).summary,
        source=f"Hugging Face {known.hub.repository}" if known.hub else "not stated",
        licence="not stated by open_clip; see where the weights are published",
        is_commercial=False,
        config={"model": model},
        hub=known.hub,
    )


class OpenClipEncoder(PatchEncoder):
    """Embeds patches and texts in one space."""

    def __init__(self, name: str, runtime: Runtime) -> None:
        """The encoder `name`: "open-clip-" and a model of open_clip.

        Raises:
            ValueError: as `open_clip_preprocessing`, or its weights are not found.
        """
        self._model = name.removeprefix(PREFIX)
        weights, preprocessing = open_clip_weights(name), open_clip_preprocessing(self._model)
        super().__init__(weights, preprocessing, runtime)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors to compare with those of patches, float32 (texts, dim), each of length 1.

        Computed on the processor, whatever patches are computed on. A text is cut off at the length
        that the model takes, 77 tokens as a rule.

        Raises:
            ValueError: the model's tokenizer is one of the hub's, and not to be had here.
        """
        tokenizer = _tokenizer(self._model)
        with torch.inference_mode():
            return self._text_network.encode_text(tokenizer(list(texts)), normalize=True).numpy()

    @cached_property
    def _text_network(self) -> Any:
        return self._network().eval()

    def _image_network(self) -> nn.Module:
        return ImageTower(self._network())


class ImageTower(nn.Module):
    """The half of a CLIP model that embeds images."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Vectors of normalised RGB (batch, 3, H, W): (batch, dim), each of length 1."""
        return F.normalize(self.model.encode_image(images).float(), dim=-1)


@dataclass(frozen=True)
class _Known:
    """What open_clip, or a repository of the hub, says of a model and of weights of it."""

    config: Mapping[str, Any]
    published: Mapping[str, Any]  # such as mean and deviation
    hub: HubFile | None


def _known(model: str) -> _Known:
    known = _known_by_hub(model) if model.startswith(HUB) else _known_by_name(model)
    if "hf_model_name" in known.config["text_cfg"]:
        raise ValueError(f"{model}: a text tower of the hub is not supported")
    return known


def _known_by_name(model: str) -> _Known:
    architecture, _, tag = model.partition(".")
    if architecture not in open_clip.list_models():  # else open_clip might ask the hub
        raise ValueError(f"open_clip knows no model {architecture!r}")
    published = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    if tag and not published:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise ValueError(f"open_clip knows no weights {tag!r} of {architecture}, but {known}")
    repository, _, file = published.get("hf_hub", "").rpartition("/")
    path, *also = [file] if file else _FILES
    hub = HubFile(repository, path, also=tuple(also)) if repository else None
    return _Known(open_clip.get_model_config(architecture), published, hub)


def _known_by_hub(model: str) -> _Known:
    found = _of_hub(model)
    config = found.config.get("model_cfg", {})
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    if missing:
        raise ValueError(f"{model}: expected a model of open_clip, got none of {sorted(missing)}")
    return _Known(config, found.config.get("preprocess_cfg", {}), found.weights)


def _tokenizer(model: str) -> Callable[[list[str]], Tensor]:
    name = model.partition(".")[0]
    if model.startswith(HUB):
        name = f"local-dir:{_of_hub(model).folder}"
    try:
        return open_clip.get_tokenizer(name)
    except (ImportError, OSError) as error:
        raise ValueError(f"no tokenizer of {model} is to be had: {error}") from error


def _of_hub(model: str) -> HubModel:
    return hub_model(model, "open_clip_config.json", _FILES)
