"""Scans are brought into RadNet's form as the reference does it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from golden import assert_golden, assert_golden_stats, seeded
from tumorbase.models.scan_preparation import (
    Sample,
    batch_cases,
    grey_slices,
    prepare_case,
    resample,
)


@pytest.mark.parametrize("run", range(4))
def test_resampled_slices_equal_the_reference(shared: Path, run: int) -> None:
    golden = np.load(shared / "reference" / "rp3d_diag" / "golden.npz")
    seed, depth, height, side_px = map(int, golden[f"resample_{run}/seed_d_h_t"])
    scan = seeded(seed).random((depth, 1, height, height)).astype(np.float32)[:, 0]
    resampled = resample(scan, side_px)[:, None]
    assert list(resampled.shape) == golden[f"resample_{run}/shape"].tolist()
    assert_golden(resampled[:, :, ::8, ::8], golden[f"resample_{run}/sub"])
    assert_golden_stats(resampled, golden[f"resample_{run}/stats"])


def test_a_deep_scan_keeps_every_nth_slice_as_it_is() -> None:
    scan = np.broadcast_to(np.arange(70.0)[:, None, None], (70, 256, 256))
    kept = resample(scan)[:, 0, 0].tolist()
    assert kept == [float(i * 70 // 32) for i in range(32)]


def test_scans_of_a_sample_are_scaled_together_and_samples_apart() -> None:
    bright, dark = np.full((1, 256, 256), 200.0), np.full((1, 256, 256), 50.0)
    together = prepare_case([Sample("CT", [bright, dark])])
    apart = prepare_case([Sample("CT", [bright]), Sample("CT", [dark])])
    assert together.images[:, 0].amax(dim=(1, 2)).tolist() == [1.0, 0.25]
    assert apart.images[:, 0].amax(dim=(1, 2)).tolist() == [1.0, 1.0]
    assert together.modalities.tolist() == [1, 2]
    assert apart.modalities.tolist() == [1, 1]


def test_padding_takes_part_in_the_scale() -> None:
    scan = np.linspace(100.0, 200.0, 256 * 256).reshape(1, 256, 256)
    short = prepare_case([Sample("MRI", [scan])])
    full = prepare_case([Sample("MRI", [scan.repeat(32, axis=0)])])
    assert short.images[0, 0].min() == pytest.approx(0.5)
    assert full.images[0, 0].min() == 0
    assert short.marks.sum() == 1
    assert short.images[0, 1:].abs().max() == 0


def test_a_sample_has_as_many_scans_as_its_modality_has_ids() -> None:
    scan = np.random.default_rng(0).random((2, 16, 16))
    case = prepare_case([Sample("CT", [scan] * 5), Sample("Ultrasound", [scan] * 2)])
    assert case.modalities.tolist() == [1, 2, 3, 9]
    assert case.images.shape == (4, 32, 256, 256)
    assert case.marks.sum(dim=1).tolist() == [2, 2, 2, 2]


def test_a_constant_scan_is_black() -> None:
    case = prepare_case([Sample("CT", [np.full((32, 256, 256), 7.0)])])
    assert not case.images.any()


def test_cases_are_padded_to_the_most_scans() -> None:
    scan = np.random.default_rng(0).random((2, 16, 16))
    one, two = (prepare_case([Sample("CT", [scan] * count)]) for count in (1, 2))
    batch = batch_cases([one, two])
    assert batch.modalities.tolist() == [[1, 0], [1, 2]]
    assert torch.equal(batch.images[1], two.images)
    assert not batch.images[0, 1].any()
    assert not batch.marks[0, 1].any()


def test_a_real_ct_becomes_square_grey_slices(shared: Path) -> None:
    file = shared / "data" / "ct" / "sts" / "STS_019" / "CT_image.nii.gz"
    voxels = np.asarray(nibabel.load(file).dataobj).T  # (z, y, x)
    slices = grey_slices(voxels, "CT")
    assert voxels.shape == (47, 134, 136)
    assert slices.shape == (32, 136, 136)
    assert (slices.min(), slices.max()) == (0, 255)
    assert slices[0, 0, 0] == 0


def test_ct_is_seen_through_the_soft_tissue_window_and_mr_whole() -> None:
    voxels = np.array([[[-1000.0, -160.0], [40.0, 3000.0]]])
    assert grey_slices(voxels, "CT").ravel().tolist() == pytest.approx([0, 0, 127.5, 255])
    assert grey_slices(voxels, "MRI").ravel()[[0, 3]].tolist() == pytest.approx([0, 255])
    assert not grey_slices(np.full((2, 4, 4), 9.0), "MRI").any()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "at least one sample, got none"),
        ([Sample("CT", [])], "at least one scan of CT, got none"),
        ([Sample("PET", [np.ones((1, 8, 8))])], "modality must be one of CT, MRI, .* got 'PET'"),
        ([Sample("CT", [np.ones((1, 8, 9))])], r"square slices .* got \(1, 8, 9\)"),
        ([Sample("CT", [np.ones((0, 8, 8))])], r"square slices .* got \(0, 8, 8\)"),
        ([Sample("CT", [np.ones((8, 8))])], "square slices"),
        ([Sample("CT", [np.full((1, 8, 8), np.nan)])], "finite grey values"),
    ],
)
def test_what_is_no_scan_is_refused(samples: list[Sample], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_case(samples)
