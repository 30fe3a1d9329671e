"""Batches of slides as SMuRF takes them: the grids of their fragments, padded to one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tumorbase.models.smurf_extractors import FRAGMENT_DIM


def pad_grids(patients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The grids of several patients' fragments side by side, and which of the fragments are real.

    Zeros go around each grid up to the most rows and columns of the batch, one more at the far ends
    where they are odd, and whole grids of zeros behind the fragments up to the most of the batch.

    Args:
        patients: of each, ViT-4K vectors where their regions lie, 0 where there is no tissue, float
            (fragments, rows, columns, 192), at least one of each.

    Returns:
        float32 (patients, fragments, 192, rows, columns) and bool (patients, fragments).

    Raises:
        ValueError: no patient, or one of another shape.
    """
    for grids in patients:
        if grids.ndim != 4 or grids.shape[3] != FRAGMENT_DIM or 0 in grids.shape:
            raise ValueError(
                f"expected grids (fragments, rows, columns, {FRAGMENT_DIM}), "
                f"got {tuple(grids.shape)}"
            )
    if not patients:
        raise ValueError("expected at least one patient, got none")
    fragments, rows, columns = (max(grids.shape[axis] for grids in patients) for axis in range(3))
    padded = torch.zeros(len(patients), fragments, FRAGMENT_DIM, rows, columns)
    marks = torch.zeros(len(patients), fragments, dtype=torch.bool)
    for patient, grids in enumerate(patients):
        count, height, width = grids.shape[:3]
        top, left = (rows - height) // 2, (columns - width) // 2
        into = padded[patient, :count, :, top : top + height, left : left + width]
        into.copy_(grids.movedim(-1, 1))
        marks[patient, :count] = True
    return padded, marks
