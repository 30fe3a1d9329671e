"""SMuRF: grade and outcome from a CT's tumour and lymph node and a slide (Song et al. 2025).

Source: Song et al., eBioMedicine 114 (2025) 105663, and its code, iridyne/SMuRF_MultiModal@2a76854
(a copy). What differs from the code, and why, is in docs/models/smurf.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tumorbase.models.smurf_extractors import (
    PathologyExtractor,
    RadiologyExtractor,
    pathology_swin,
    radiology_swin,
)
from tumorbase.models.smurf_fusion import RegionAttention, TaskHead, fused_dim, outer_product

REGIONS = 3  # tumour, lymph node, slide
TASKS = {"multitask": ("grade", "hazard"), "grade": ("grade",), "survival": ("hazard",)}


@dataclass(frozen=True)
class SmurfConfig:
    """What the network is made of; published are attention_dim=24 and hidden_dims=(64, 16).

    Args:
        fusion: "fused_attention" is the outer product of what "attention" makes of the three
            vectors, "kronecker" that of the vectors themselves; or "concatenation".
        task: a key of `TASKS`.
        feature_dim: of the vector of each region, a multiple of 6.
        attention_dim: of each vector after attention.
        hidden_dims: of the head's hidden layers.
        as_published: with three mistakes of the published code, for weights trained with them: the
            tumour's extractor reads the node as well, fragments and channels of the slide are mixed
            up, and attention sums to 1 over what asks instead of what is asked.
    """

    fusion: str = "fused_attention"
    task: str = "multitask"
    feature_dim: int = 24
    attention_dim: int = 8
    hidden_dims: tuple[int, ...] = (64,)
    as_published: bool = False


@dataclass(frozen=True)
class SmurfOutput:
    """What is told of patients, None where the network has not learned it, and from what.

    `hazard` is relative and the higher, the sooner the event.
    """

    grade_logits: Tensor | None  # (patients,); their sigmoids are probabilities of a high grade
    hazard: Tensor | None  # in (0, 1), (patients,)
    regions: Tensor  # vectors of tumour, node and slide, (patients, 3, feature_dim)
    fused: Tensor  # (patients, what the fusion makes)


class Fusion(nn.Module):
    """One vector of a patient's three, and the logits that follow from it."""

    def __init__(self, config: SmurfConfig) -> None:
        super().__init__()
        self.fusion = config.fusion
        dim = fused_dim(config.fusion, REGIONS, config.feature_dim, config.attention_dim)
        if "attention" in config.fusion:
            self.attention_module = RegionAttention(
                config.feature_dim, config.attention_dim, over_queries=config.as_published
            )
        self.taskmodel = TaskHead(dim, config.hidden_dims, len(TASKS[config.task]))

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Fused vectors (patients, dim), and logits (patients, outputs), of (patients, 3, dim)."""
        if "attention" in self.fusion:
            regions = self.attention_module(regions)  # (patients, 3, attention_dim)
        is_product = self.fusion in ("fused_attention", "kronecker")
        fused = outer_product(regions) if is_product else regions.flatten(1)
        return fused, self.taskmodel(fused)


class Smurf(nn.Module):
    """Grade and hazard from sub-volumes around tumour and node, and from fragments of a slide.

    Raises:
        ValueError: the configuration names no such fusion or task, or a width does not fit.
    """

    def __init__(self, config: SmurfConfig | None = None) -> None:
        super().__init__()
        config = config or SmurfConfig()
        if config.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {config.task!r}")
        self.config = config
        dim = config.feature_dim
        self.extractor_ct_tumor = RadiologyExtractor(radiology_swin(dim), dim)
        self.extractor_ct_lymph = RadiologyExtractor(radiology_swin(dim), dim)
        self.extractor_pathology = PathologyExtractor(
            pathology_swin(dim), dim, mixes_channels=config.as_published
        )
        self.fusion = Fusion(config)

    def forward(
        self, tumour: Tensor, node: Tensor, grids: Tensor, marks: Tensor | None = None
    ) -> SmurfOutput:
        """What is told of patients.

        Args:
            tumour: `smurf_sub_volumes.region_sub_volumes`, float32
                (patients, 4, slices, height, width).
            node: of the lymph node, of the same shape.
            grids: ViT-4K vectors of the slide's fragments, float32
                (patients, fragments, 192, rows, columns), as of `smurf_grids.pad_grids`.
            marks: which fragments are real, bool (patients, fragments); None where all are. The
                published form takes padding for real, whatever the marks.

        Raises:
            ValueError: another shape, different numbers of patients, or one without a fragment.
        """
        if not len(tumour) == len(node) == len(grids):
            raise ValueError(
                "expected tumour, node and slide of the same patients, "
                f"got {len(tumour)}, {len(node)} and {len(grids)}"
            )
        node_extractor = (
            self.extractor_ct_tumor if self.config.as_published else self.extractor_ct_lymph
        )
        regions = torch.stack(
            [
                self.extractor_ct_tumor(tumour),
                node_extractor(node),
                self.extractor_pathology(grids, marks),
            ],
            dim=1,
        )  # (patients, 3, feature_dim)
        fused, logits = self.fusion(regions)
        told = dict(zip(TASKS[self.config.task], logits.unbind(dim=1), strict=True))
        hazard = told["hazard"].sigmoid() if "hazard" in told else None
        return SmurfOutput(told.get("grade"), hazard, regions, fused)
