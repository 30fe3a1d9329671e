"""CLIP models of open_clip as encoders of patches and texts, by the names they have there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn
from torch.nn import functional as F

from tumorbase.models.encoders import Runtime
from tumorbase.models.patch_encoders import PatchEncoder
from tumorbase.models.patch_tower import PatchPreprocessing
from tumorbase.models.published import HubFile, Weights

PREFIX = "open-clip-"
_HUB_FILE = "open_clip_model.safetensors"  # where a repository of the hub names no other


def open_clip_network(model: str) -> nn.Module:
    """A model of open_clip, both towers of it.

    Args:
        model: name there, with or without the name of its weights: "ViT-B-32" or
            "ViT-B-32.laion2b_s34b_b79k".

    Raises:
        ValueError: open_clip knows no such model or weights, or its text tower is one of the hub's.
    """
    architecture, published = _published(model)
    config = open_clip.get_model_config(architecture)
    if published.get("quick_gelu"):  # of OpenAI's weights; the name of the model does not tell
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
    architecture, published = _published(model)
    side = open_clip.get_model_config(architecture)["vision_cfg"]["image_size"]
    if not isinstance(side, int):
        raise ValueError(f"{model}: expected square images, got {side}")
    how = merge_preprocess_dict(PreprocessCfg(), published)
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
    architecture, published = _published(model)
    repository, _, file = published.get("hf_hub", "").rpartition("/")
    return Weights(
        name=name,
        network="open_clip",
        dim=open_clip.get_model_config(architecture)["embed_dim"],
        preprocessing=open_clip_preprocessing(model).summary,
        source=f"Hugging Face {repository}" if repository else "not stated",
        licence="not stated by open_clip; see where the weights are published",
        is_commercial=False,
        config={"model": model},
        hub=HubFile(repository, file or _HUB_FILE) if repository else None,
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
        try:
            tokenizer = open_clip.get_tokenizer(self._model.partition(".")[0])
        except (ImportError, OSError) as error:
            raise ValueError(f"no tokenizer of {self._model} is to be had: {error}") from error
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


def _published(model: str) -> tuple[str, dict[str, Any]]:
    """Name of the architecture, and what open_clip knows of the weights named."""
    architecture, _, tag = model.partition(".")
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise ValueError(f"open_clip knows no model {architecture!r}")
    if "hf_model_name" in config["text_cfg"]:
        raise ValueError(f"{architecture}: a text tower of the hub is not supported")
    published = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    if tag and not published:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise ValueError(f"open_clip knows no weights {tag!r} of {architecture}, but {known}")
    return architecture, published
