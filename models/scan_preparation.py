"""Scans as RadNet takes them: 32 slices of 256 pixels at most, grey values from 0 to 1.

Source: qiaoyu-zheng/RP3D-Diag@7bdbbbb, RP3D_Demo/Dataset/dataset.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE_PX = 256
MAX_SLICES = 32
# A case's scans of one modality are told apart by their ids; there is none for more of them.
MODALITY_IDS: dict[str, tuple[int, ...]] = {
    "CT": (1, 2, 3),
    "MRI": (4, 5, 6),
    "X-ray": (7, 8),
    "Ultrasound": (9,),
    "Annotated image": (10,),
    "Fluoroscopy": (11,),
    "Mammography": (12,),
    "DSA (angiography)": (13,),
    "Nuclear medicine": (14,),
    "Barium": (15,),
}
SOFT_TISSUE_HU = (-160.0, 240.0)
WHITE = 255.0  # of 8-bit images, which are all that the published weights saw


@dataclass(frozen=True, eq=False)
class Sample:
    """Scans of one modality that are scaled together, grey values (slices, height, width) each."""

    modality: str  # a key of `MODALITY_IDS`
    scans: Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """The scans of a case, padded to `MAX_SLICES`; or of several, with `cases` as first side."""

    images: Tensor  # in [0, 1], float32 (scans, slices, SIDE_PX, SIDE_PX)
    marks: Tensor  # which slices are real, bool (scans, slices)
    modalities: Tensor  # int64 (scans,), 0 for padding


def prepare_case(samples: Sequence[Sample]) -> Case:
    """The scans of all samples in their order; of each sample as many as its modality has ids.

    Raises:
        ValueError: no sample, or one without a scan; an unknown modality; or a scan that is not
            finite, empty or not square.
    """
    images: list[Tensor] = []
    slices: list[int] = []
    modalities: list[int] = []
    for sample in samples:
        if sample.modality not in MODALITY_IDS:
            known = ", ".join(MODALITY_IDS)
            raise ValueError(f"modality must be one of {known}, got {sample.modality!r}")
        ids = MODALITY_IDS[sample.modality]
        scans = [resample(scan) for scan in sample.scans[: len(ids)]]
        if not scans:
            raise ValueError(f"expected at least one scan of {sample.modality}, got none")
        slices += [len(scan) for scan in scans]
        modalities += ids[: len(scans)]
        images += _scaled_together(scans)
    if not images:
        raise ValueError("expected at least one sample, got none")
    marks = torch.arange(MAX_SLICES) < torch.tensor(slices)[:, None]  # (scans, slices)
    return Case(torch.stack(images), marks, torch.tensor(modalities))


def batch_cases(cases: Sequence[Case]) -> Case:
    """Cases of any number of scans as one batch, padded to the most scans."""
    most = max(len(case.modalities) for case in cases)

    def padded(tensors: list[Tensor]) -> Tensor:
        return torch.stack(
            [torch.cat([one, one.new_zeros(most - len(one), *one.shape[1:])]) for one in tensors]
        )

    return Case(
        padded([case.images for case in cases]),  # (cases, scans, slices, height, width)
        padded([case.marks for case in cases]),  # (cases, scans, slices)
        padded([case.modalities for case in cases]),  # (cases, scans)
    )


def resample(scan: np.ndarray, side_px: int = SIDE_PX) -> Tensor:
    """At most `MAX_SLICES` evenly spaced slices, bilinearly resized.

    No slice is made up between two others.

    Args:
        scan: (slices, height, width), square, at least one slice.
        side_px: of the result.

    Returns:
        float32 (at most MAX_SLICES, side_px, side_px).

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    if scan.ndim != 3 or scan.shape[1] != scan.shape[2] or scan.size == 0:
        raise ValueError(f"expected square slices (slices, height, width), got {scan.shape}")
    if not np.isfinite(scan).all():
        raise ValueError("expected finite grey values, got NaN or infinity")
    slices = torch.from_numpy(scan[kept_slices(len(scan))].astype(np.float32))
    if scan.shape[1] == side_px:
        return slices
    return F.interpolate(slices[:, None], size=(side_px, side_px), mode="bilinear")[:, 0]


def kept_slices(depth: int) -> np.ndarray:
    """Indices of the slices that are kept of `depth`, int64 (at most MAX_SLICES,)."""
    kept = min(depth, MAX_SLICES)
    return np.arange(kept) * depth // max(kept, 1)


def grey_slices(voxels: np.ndarray, modality: str) -> np.ndarray:
    """The slices of a volume that are kept, as 8-bit images show them: what the weights know.

    CT is seen through the soft-tissue window, others from their least to their greatest value.
    Slices that are not square get black at both sides.

    Args:
        voxels: HU of a CT, scanner units otherwise, finite, (z, y, x).
        modality: a key of `MODALITY_IDS`.

    Returns:
        Grey values in [0, 255], float32 (at most MAX_SLICES, side, side); black where nothing
        varies.
    """
    values = voxels[kept_slices(len(voxels))].astype(np.float32)
    low, high = SOFT_TISSUE_HU if modality == "CT" else (values.min(), values.max())
    grey = (values.clip(low, high) - low) * np.float32(WHITE / max(high - low, 1e-6))
    height, width = grey.shape[1:]
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    return np.pad(grey, ((0, 0), (above, side - height - above), (left, side - width - left)))


def _scaled_together(scans: Sequence[Tensor]) -> Tensor:
    """Scans padded with 0 to `MAX_SLICES`, then the least of all values 0 and the greatest 1."""
    images = torch.stack([F.pad(scan, (0, 0, 0, 0, 0, MAX_SLICES - len(scan))) for scan in scans])
    low, high = images.aminmax()
    # Where nothing varies the reference takes noise, and another each time; black is as good.
    return (images - low) / (high - low if high > low else 1.0)
