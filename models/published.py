"""The published weights that tumorbase can use, each described once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository; fetched only where a `revision` is pinned.

    `also` are names that it has in repositories without the first.
    """

    repository: str
    path: str
    revision: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """One checkpoint: whose network it is, where it was published and how it is read.

    `network` and `config` are what `networks.build` takes. `sha256` are the first digits of the
    hash, as many as are public. `wrapper` and `prefixes` are as of `checkpoints.read_state`,
    `left_over` as of `checkpoints.load_into`.
    """

    name: str
    network: str
    dim: int  # of the embedding
    preprocessing: str
    source: str
    licence: str
    is_commercial: bool  # whether the licence lets a company use it
    file: str = ""  # the name under which it was published
    config: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    hub: HubFile | None = None
    wrapper: str = ""
    prefixes: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()


def _hovernet(name: str, mode: str, nr_types: int | None, file: str, licence: str) -> Weights:
    return Weights(
        name=f"hovernet-{name}",
        network="hovernet",
        dim=64,
        preprocessing="RGB 0..255 at 0.25 um a pixel, divided by 255 in the network",
        source="vqdang/hover_net@67e2ce5, README: model weights",
        licence=licence,
        is_commercial=False,
        file=file,
        config={"mode": mode, "nr_types": nr_types},
        wrapper="desc",
        prefixes=("module.",),
    )


def _pathology_vit(
    name: str,
    dim: int,
    preprocessing: str,
    hub: HubFile,
    *,
    licence: str,
    is_commercial: bool = False,
    sha256: str = "",
) -> Weights:
    return Weights(
        name=name,
        network="pathology_vit",
        dim=dim,
        preprocessing=f"0.5 um a pixel, {preprocessing}",
        source=f"Hugging Face {hub.repository}, gated: accept its terms there first",
        licence=licence,
        is_commercial=is_commercial,
        config={"model": name},
        sha256=sha256,
        hub=hub,
    )


_DATA_LICENCE = "code MIT, weights as the data set: research use"
_HIPT_LICENCE = "Apache-2.0 with Commons Clause, non-commercial academic use"
_HIPT_SOURCE = "mahmoodlab/HIPT@780fafa, HIPT_4K/Checkpoints (Git LFS)"
_ACADEMIC_LICENCE = "CC BY-NC-ND 4.0, non-commercial academic research"
_BIN, _SAFETENSORS = "pytorch_model.bin", "model.safetensors"

PUBLISHED: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        _hovernet(
            "pannuke",
            "fast",
            6,
            "hovernet_fast_pannuke_type_tf2pytorch.tar",
            "code MIT, weights CC BY-NC-SA 4.0",
        ),
        _hovernet(
            "monusac",
            "fast",
            5,
            "hovernet_fast_monusac_type_tf2pytorch.tar",
            "code MIT, weights CC BY-NC-SA 4.0",
        ),
        _hovernet(
            "consep",
            "original",
            5,
            "hovernet_original_consep_type_tf2pytorch.tar",
            _DATA_LICENCE,
        ),
        _hovernet(
            "kumar",
            "original",
            None,
            "hovernet_original_kumar_notype_tf2pytorch.tar",
            "code MIT, weights CC BY-NC-SA 4.0",
        ),
        Weights(
            name="hipt-vit256",
            network="hipt_vit256",
            dim=384,
            preprocessing="256 px at 0.5 um a pixel, (x / 255 - 0.5) / 0.5",
            source=_HIPT_SOURCE,
            licence=_HIPT_LICENCE,
            is_commercial=False,
            file="vit256_small_dino.pth",
            sha256="6960cd5a8657dc8bb214671aa0c6dbd3f5b698e84386884955836487ddc89e24",
            wrapper="teacher",
            prefixes=("module.", "backbone."),
            left_over=("head.",),  # of the training by DINO
        ),
        Weights(
            name="hipt-vit4k",
            network="hipt_vit4k",
            dim=192,
            preprocessing="grid of ViT-256 vectors, a vector for each 256 px at 0.5 um a pixel",
            source=_HIPT_SOURCE,
            licence=_HIPT_LICENCE,
            is_commercial=False,
            file="vit4k_xs_dino.pth",
            sha256="2b0bd9e9a602a35f2bb3f76da39d2b53a91f23fc3f115dc59a63267d95ad2b7b",
            wrapper="teacher",
            prefixes=("module.", "backbone."),
            left_over=("head.",),  # of the training by DINO
        ),
        Weights(
            name="resnet50-layer3",
            network="resnet50_layer3",
            dim=1024,
            preprocessing="256 px at 0.5 um a pixel, ImageNet mean and deviation",
            source="torchvision ResNet50_Weights.IMAGENET1K_V1",
            licence="BSD-3-Clause; trained on ImageNet, whose terms are non-commercial",
            is_commercial=False,
            file="resnet50-0676ba61.pth",
            sha256="0676ba61",
            left_over=("layer4.", "fc."),
        ),
        _pathology_vit(
            "uni",
            1024,
            "224 px (bilinear), ImageNet mean and deviation",
            HubFile("MahmoodLab/UNI", _BIN),
            licence=_ACADEMIC_LICENCE,
            sha256="56ef09b44a25dc5c7eedc55551b3d47bcd17659a7a33837cf9abc9ec4e2ffb40",
        ),
        _pathology_vit(
            "uni2-h",
            1536,
            "224 px (bilinear), ImageNet mean and deviation",
            HubFile("MahmoodLab/UNI2-h", _BIN),
            licence=_ACADEMIC_LICENCE,
            sha256="6e077eda234bebc595868d918d3458d9dd32a050199b0ff04443b2f46a0a3b1e",
        ),
        _pathology_vit(
            "virchow",
            2560,
            "224 px (bicubic), ImageNet mean and deviation",
            HubFile("paige-ai/Virchow", _SAFETENSORS, also=(_BIN,)),
            licence="Apache-2.0, with terms of access",
            is_commercial=True,
        ),
        _pathology_vit(
            "virchow2",
            2560,
            "224 px (bicubic), ImageNet mean and deviation",
            HubFile("paige-ai/Virchow2", _SAFETENSORS, also=(_BIN,)),
            licence=_ACADEMIC_LICENCE,
        ),
        _pathology_vit(
            "prov-gigapath",
            1536,
            "256 px (bicubic), centre 224, ImageNet mean and deviation",
            HubFile("prov-gigapath/prov-gigapath", _BIN),
            licence="Apache-2.0, with terms of access: research only",
        ),
        _pathology_vit(
            "h-optimus-0",
            1536,
            "224 px (bilinear), mean and deviation of its own",
            HubFile("bioptimus/H-optimus-0", _SAFETENSORS, also=(_BIN,)),
            licence="Apache-2.0, with terms of access",
            is_commercial=True,
        ),
        _pathology_vit(
            "h-optimus-1",
            1536,
            "224 px (bilinear), mean and deviation of its own",
            HubFile("bioptimus/H-optimus-1", _SAFETENSORS, also=(_BIN,)),
            licence=_ACADEMIC_LICENCE,
        ),
        Weights(
            name="lesanet",
            network="lesanet",
            dim=256,
            preprocessing="-1024..3071 HU, 1 mm a pixel, three slices 2 mm apart, 120 px",
            source="rsummers11/CADLab@e6963e8, LesaNet/README",
            licence="NIH Clinical Center, BSD-style",
            is_commercial=True,
            wrapper="state_dict",
            prefixes=("module.",),
        ),
        Weights(
            name="ssbr",
            network="ssbr",
            dim=1,
            preprocessing="one slice, -175..275 HU, 128 px, three equal channels, minus 50",
            source="rsummers11/CADLab@e6963e8, body_part_regressor/bodypartregressor/snapshots",
            licence="MIT",
            is_commercial=True,
            file="_iter_10000.caffemodel",
        ),
        Weights(
            name="lesion-graph",
            network="lesion_graph",
            dim=1408,
            preprocessing="-1024..3071 HU, 0.8 mm a pixel, three slices 2 mm apart, 120 px",
            source="none published; train it, from torchvision VGG16_Weights.IMAGENET1K_V1 on",
            licence="as whoever trains it decides",
            is_commercial=True,
            left_over=("classifier.",),
        ),
        Weights(
            name="radnet",
            network="radnet",
            dim=2048,
            preprocessing="256 x 256 px, at most 32 slices, scaled to 0..1",
            source="Hugging Face QiaoyuZheng/RadDiag",
            licence="MIT; trained on Radiopaedia cases, CC BY-NC-SA 3.0",
            is_commercial=False,
            config={"n_classes": 5569},
            left_over=("bioLORD.", "fcke."),
            hub=HubFile(
                "QiaoyuZheng/RadDiag",
                "RP3D_5569_res_ART_256_32_BCE_T_4_2_0.7_2048_E_F_F_F_N/pytorch_model.bin",
            ),
        ),
        Weights(
            name="snn",
            network="snn",
            dim=256,
            preprocessing="z-scores of the columns, by means and deviations, that the file states",
            source="none published; train it on your own profiles",
            licence="as whoever trains it decides",
            is_commercial=True,
            left_over=("input_",),
        ),
    )
}

# Weights of other libraries' networks: prefix of their names -> "module:function" of a name.
FAMILIES = {
    "timm-": "tumorbase.models.timm_models:timm_weights",
    "torchvision-": "tumorbase.models.torchvision_models:torchvision_weights",
    "open-clip-": "tumorbase.models.open_clip_models:open_clip_weights",
}


def describe(name: str) -> Weights:
    """The weights called `name`, listed or of another library.

    Raises:
        ValueError: no weights have this name.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    for prefix, place in FAMILIES.items():
        if name.startswith(prefix):
            module, _, function = place.partition(":")
            weights: Weights = getattr(import_module(module), function)(name)
            return weights
    known = ", ".join([*sorted(PUBLISHED), *(f"{prefix}MODEL" for prefix in FAMILIES)])
    raise ValueError(f"weights must be one of {known}, got {name!r}")
