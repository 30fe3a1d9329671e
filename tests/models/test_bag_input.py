"""Bags and genomic vectors of another shape are refused by name."""

from __future__ import annotations

import pytest
import torch

from tumorbase.models.bag_input import check_omics, check_patches


@pytest.mark.parametrize("shape", [(0, 8), (3, 7), (8,), (1, 3, 8)])
def test_what_is_no_bag_of_patch_vectors_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"patches must be \(patches, 8\) .*, got \("):
        check_patches(torch.zeros(shape), 8)


@pytest.mark.parametrize("sizes", [(2,), (2, 4), (2, 3, 4)])
def test_genomic_vectors_of_other_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"omics must have the sizes \(2, 3\), got shapes \["):
        check_omics([torch.zeros(size) for size in sizes], [2, 3])


def test_a_bag_of_one_patch_and_fitting_vectors_are_let_through() -> None:
    check_patches(torch.zeros(1, 8), 8)
    check_omics([torch.zeros(2), torch.zeros(3)], (2, 3))
