"""Features against the reference values of the IBSI phantoms, each within IBSI's tolerance."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tumorbase.models.discretisation import fixed_bin_size
from tumorbase.models.first_order import intensity_histogram, intensity_statistics
from tumorbase.models.lesion_radiomics import KeySliceRadiomics, LesionRadiomics
from tumorbase.models.resample import resample
from tumorbase.models.shape_features import shape_features
from tumorbase.models.spatial_autocorrelation import spatial_autocorrelation
from tumorbase.models.texture import level_grid, texture_features

OWN_FEATURES = {"location_x", "location_y", "location_z"}
OUTLINE_FEATURES = {
    "area_mm2",
    "long_axis_mm",
    "short_axis_mm",
    "axis_ratio",
    "hull_perimeter_mm",
    "convexity",
    "ellipse_density",
}


def reference_values(file: Path, suffixes: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """(value, tolerance) by tag, the suffix of how directions are merged taken off."""
    with file.open() as lines:
        rows = [row for row in csv.DictReader(lines, delimiter=";") if row["reference value"]]
    values = {}
    for row in rows:
        for suffix in suffixes:
            if row["tag"].endswith(suffix):
                tag = row["tag"].removesuffix(suffix)
                values.setdefault(tag, (float(row["reference value"]), float(row["tolerance"])))
    return values


def deviations(
    features: dict[str, float], reference: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """(found, expected) of all features that are off by more than tolerance and printed digits."""
    common = {tag: (features[tag], *reference[tag]) for tag in features.keys() & reference.keys()}
    return {
        tag: (found, expected)
        for tag, (found, expected, tolerance) in common.items()
        if abs(found - expected) > tolerance and float(f"{found:.3g}") != expected
    }


def encoded_tags(names: tuple[str, ...]) -> set[str]:
    """IBSI's tags of the features an encoder uses."""
    return {name.removeprefix("log1p_") for name in names} - OWN_FEATURES - OUTLINE_FEATURES


def load(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A NIfTI volume as (z, y, x) and its spacing in mm."""
    image = nib.load(file)
    return image.get_fdata().T, np.array(image.header.get_zooms()[::-1], dtype=np.float64)


@pytest.fixture(scope="module")
def digital_phantom(shared: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, mask and spacing of the 5 x 4 x 4 phantom of 2 mm voxels."""
    folder = shared / "data" / "ct" / "ibsi_digital_phantom"
    levels, spacing_mm = load(folder / "phantom.nii.gz")
    mask = load(folder / "mask.nii.gz")[0] > 0
    return np.where(mask, levels, 0).astype(np.int32), mask, spacing_mm


@pytest.fixture(scope="module")
def digital_reference(shared: Path) -> Path:
    return shared / "data" / "radiomics" / "ibsi_reference" / "ibsi_1_dig_phantom.csv"


@pytest.fixture(scope="module")
def chest_features(shared: Path) -> dict[str, float]:
    """The chest CT phantom under configuration C: 2 mm, trilinear, [-1000, 400] HU, 25 HU bins."""
    folder = shared / "data" / "ct" / "ibsi_ct_phantom"
    image, spacing_mm = load(folder / "phantom.nii.gz")
    two_mm = np.full(3, 2.0)
    image = np.rint(resample(image, spacing_mm, two_mm))
    mask = resample(load(folder / "mask.nii.gz")[0] > 0, spacing_mm, two_mm) >= 0.5
    assert image.shape == (90, 99, 100)
    inner = mask & (image >= -1000) & (image <= 400)
    levels = np.zeros(mask.shape, dtype=np.int32)
    levels[inner] = fixed_bin_size(image[inner], 25, -1000)
    return {
        **shape_features(image, mask, inner, two_mm),
        **spatial_autocorrelation(image, inner, two_mm),
        **intensity_statistics(image[inner]),
        **intensity_histogram(levels[inner]),
        **texture_features(level_grid(levels, mask)),
    }


def test_digital_phantom_features_lie_within_tolerance(digital_phantom, digital_reference):
    levels, mask, spacing_mm = digital_phantom
    features = {
        **shape_features(levels, mask, mask, spacing_mm),
        **spatial_autocorrelation(levels, mask, spacing_mm),
        **intensity_statistics(levels[mask]),
        **intensity_histogram(levels[mask]),
        **texture_features(level_grid(levels, mask)),
    }
    reference = reference_values(digital_reference, ("_3D_comb", "_3D", ""))
    assert encoded_tags(LesionRadiomics().spec.feature_names) <= features.keys() & reference.keys()
    assert deviations(features, reference) == {}


def test_digital_phantom_slices_lie_within_tolerance(digital_phantom, digital_reference):
    levels, mask, _ = digital_phantom
    slices = [
        texture_features(level_grid(levels[z : z + 1], mask[z : z + 1], is_plane=True))
        for z in range(len(levels))
    ]
    averaged = {tag: float(np.mean([features[tag] for features in slices])) for tag in slices[0]}
    reference = reference_values(digital_reference, ("_2D_comb", "_2D"))
    used = encoded_tags(KeySliceRadiomics().spec.feature_names)
    assert {tag for tag in used if not tag.startswith(("stat_", "ih_"))} <= reference.keys()
    assert averaged.keys() <= reference.keys()
    assert deviations(averaged, reference) == {}


def test_chest_phantom_features_lie_within_tolerance(chest_features, shared):
    file = shared / "data" / "radiomics" / "ibsi_reference" / "ibsi_1_chest_config_c.csv"
    reference = reference_values(file, ("_3D_comb", "_3D", ""))
    assert encoded_tags(LesionRadiomics().spec.feature_names) <= reference.keys()
    assert chest_features.keys() <= reference.keys()
    assert deviations(chest_features, reference) == {}
