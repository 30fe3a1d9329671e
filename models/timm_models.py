"""Image models of timm as encoders of patches, by the names that they have there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn

from tumorbase.models.encoders import Runtime
from tumorbase.models.hub_model import HUB, hub_model
from tumorbase.models.once import once
from tumorbase.models.patch_encoders import PatchEncoder
from tumorbase.models.patch_tower import PatchPreprocessing
from tumorbase.models.published import PUBLISHED, HubFile, Weights

PREFIX = "timm-"
_FILES = ("model.safetensors", "pytorch_model.bin")  # of weights in a repository


def timm_encoder(name: str, runtime: Runtime) -> PatchEncoder:
    """The encoder `name`: "timm-" and a model of timm.

    Raises:
        ValueError: as `timm_preprocessing`, or its weights are not found.
    """
    weights = timm_weights(name)
    return PatchEncoder(weights, timm_preprocessing(weights.config["model"]), runtime)


def timm_network(model: str) -> nn.Module:
    """A network of timm without its classifier: normalised RGB (batch, 3, H, W) to (batch, dim).

    Args:
        model: name there, with or without the name of its weights: "vit_small_patch16_224" or
            "vit_small_patch16_224.dino"; or a repository of the hub, as of `hub_model`.

    Raises:
        ValueError: timm knows no such model, or the repository describes none that it can make.
    """
    known = _known(model)
    try:
        return timm.create_model(known.name, pretrained=False, num_classes=0, **known.arguments)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{model}: timm cannot make it: {error}") from error


def timm_preprocessing(model: str) -> PatchPreprocessing:
    """What timm does to images for these weights, or for the model's usual ones.

    Raises:
        ValueError: timm knows no such model, or its input is not a square of RGB.
    """
    data = resolve_data_config(pretrained_cfg=_known(model).published.to_dict())
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise ValueError(f"{model}: expected square RGB input, got {data['input_size']}")
    return PatchPreprocessing(
        resize_px=math.floor(height / data["crop_pct"]),
        crop_px=height,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation=data["interpolation"],
    )


def timm_weights(name: str) -> Weights:
    """The weights of the encoder `name`: "timm-" and a model of timm.

    Raises:
        ValueError: as `timm_preprocessing`, or the model gives no single vector of an image.
    """
    model = name.removeprefix(PREFIX)
    known = _known(model)
    classifiers = known.published.classifier or ()
    heads = (classifiers,) if isinstance(classifiers, str) else classifiers
    return Weights(
        name=name,
        network="timm",
        dim=once(("timm dim", model, repr(known)), lambda: _embedding_dim(model)),
        preprocessing=timm_preprocessing(model).summary,
        source=f"Hugging Face {known.hub.repository}" if known.hub else "not stated",
        licence=f"{known.published.license or 'not stated'}; see that of the training data too",
        is_commercial=False,
        config={"model": model},
        hub=known.hub,
        left_over=tuple(f"{head.partition('.')[0]}." for head in heads),
    )


def _embedding_dim(model: str) -> int:
    """How many numbers the network gives of an image, which timm lists nowhere: by shapes alone."""
    pixels = timm_preprocessing(model).crop_px
    with torch.device("meta"), torch.inference_mode():
        output = timm_network(model).eval()(torch.empty(1, 3, pixels, pixels))
    if output.ndim != 2:
        raise ValueError(
            f"{model}: expected one vector an image, got an output of {tuple(output.shape)}"
        )
    return output.shape[1]


@dataclass(frozen=True)
class _Known:
    """A model as timm or its repository describes it, and what `timm.create_model` is told."""

    name: str
    arguments: Mapping[str, Any]
    published: PretrainedCfg
    hub: HubFile | None


def _known(model: str) -> _Known:
    if model.startswith(HUB):
        return _known_by_hub(model)
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise ValueError(f"timm knows no model {architecture!r}")
    try:
        published = get_pretrained_cfg(model)
    except RuntimeError as error:
        raise ValueError(f"timm knows no weights {tag!r} of {architecture}") from error
    assert published is not None  # timm describes all of its models
    repository = published.hf_hub_id
    return _Known(model, {}, published, HubFile(repository, _FILES[0]) if repository else None)


def _known_by_hub(model: str) -> _Known:
    if name := _listed_name(model):
        raise ValueError(
            f"{model}: its config.json does not say all of its network and preprocessing; "
            f"use the encoder {name}"
        )
    found = hub_model(model, "config.json", _FILES)
    architecture = found.config.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ValueError(f"{model}: expected an architecture of timm, got {architecture!r}")
    told = found.config.get("pretrained_cfg", found.config)  # in older files all is at one level
    names = {field.name for field in fields(PretrainedCfg)}
    published = PretrainedCfg(**{name: told[name] for name in names & told.keys()})
    arguments = {**found.config.get("model_args", {}), "pretrained_cfg": published}
    arguments.pop("num_classes", None)
    return _Known(architecture, arguments, published, found.weights)


def _listed_name(model: str) -> str:
    """The name of the listed weights that lie in this repository, else empty."""
    repository = model.removeprefix(HUB).partition("@")[0].lower()
    listed = {w.hub.repository.lower(): w.name for w in PUBLISHED.values() if w.hub}
    return listed.get(repository, "")
