"""Classifiers of torchvision as encoders of patches, by the names that they have there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model, get_model_weights, list_models

from tumorbase.models.encoders import Runtime
from tumorbase.models.patch_encoders import PatchEncoder
from tumorbase.models.patch_tower import PatchPreprocessing
from tumorbase.models.published import Weights

PREFIX = "torchvision-"


def torchvision_encoder(name: str, runtime: Runtime) -> PatchEncoder:
    """The encoder `name`: "torchvision-" and a classifier of torchvision.

    Raises:
        ValueError: as `torchvision_network`, or its weights are not found.
    """
    weights = torchvision_weights(name)
    return PatchEncoder(weights, torchvision_preprocessing(weights.config["model"]), runtime)


def torchvision_network(model: str) -> nn.Module:
    """A classifier of torchvision without its last layer: normalised RGB (batch, 3, H, W) to
    (batch, dim).

    Args:
        model: name there, with or without the name of its weights: "resnet50" or
            "resnet50.IMAGENET1K_V1".

    Raises:
        ValueError: torchvision knows no such classifier, or it does not end in a linear layer.
    """
    return _without_classifier(model)[0]


def torchvision_preprocessing(model: str) -> PatchPreprocessing:
    """What torchvision does to images for these weights, or for the model's default ones.

    Raises:
        ValueError: torchvision knows no such classifier or weights.
    """
    transforms = _published(model).transforms()
    return PatchPreprocessing(
        resize_px=transforms.resize_size[0],
        crop_px=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def torchvision_weights(name: str) -> Weights:
    """The weights of the encoder `name`: "torchvision-" and a classifier of torchvision.

    Raises:
        ValueError: as `torchvision_network`.
    """
    model = name.removeprefix(PREFIX)
    published = _published(model)
    with ShapesOnly():
        _, classifier, dim = _without_classifier(model)
    file = urlparse(published.url).path.rpartition("/")[2]
    return Weights(
        name=name,
        network="torchvision",
        dim=dim,
        preprocessing=torchvision_preprocessing(model).summary,
        source=f"torchvision {published}",
        licence="BSD-3-Clause; see that of the training data too",
        is_commercial=False,
        file=file,
        config={"model": model},
        sha256=file.partition(".")[0].rpartition("-")[2],  # NAME-SHA256.pth
        left_over=(f"{classifier}.",),
    )


def _without_classifier(model: str) -> tuple[nn.Module, str, int]:
    """The network, and the name and input size of its last layer, which is taken out."""
    architecture = model.partition(".")[0]
    published = _published(model)
    options: dict[str, Any] = {}
    if architecture.startswith("vit_"):  # its positions are of one image size
        options = {"image_size": published.transforms().crop_size[0]}
    elif architecture in ("googlenet", "inception_v3"):
        # Published weights take pixels in [-1, 1], which the network makes of what is normalised.
        options = {"transform_input": True, "init_weights": False}
    network = get_model(architecture, weights=None, **options)
    linear = [(n, module) for n, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{architecture} does not end in a linear layer")
    name, classifier = linear[-1]
    network.set_submodule(name, nn.Identity())
    return network, name, classifier.in_features


class ShapesOnly(TorchFunctionMode):
    """Parameters have a shape and no values. On the device "meta" nothing else would have values
    either, and a RegNet computes its widths with tensors.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        if function in (torch.empty, torch.zeros, torch.ones):
            options["device"] = "meta"
        return function(*args, **options)


def _published(model: str) -> Any:
    """Torchvision's own description of the weights."""
    architecture, _, tag = model.partition(".")
    if architecture not in list_models(torchvision.models):
        raise ValueError(f"torchvision knows no classifier {architecture!r}")
    weights = get_model_weights(architecture)
    if tag and tag not in weights.__members__:
        known = ", ".join(weights.__members__)
        raise ValueError(f"torchvision knows no weights {tag!r} of {architecture}, but {known}")
    return weights[tag or "DEFAULT"]
