"""Features of real lesions against mirp, an implementation that the IBSI verified."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tumorbase.models.lesion_crop import LesionCrop
from tumorbase.models.lesion_radiomics import key_slice_features, lesion_features

FAMILIES = ["stat", "ih", "cm", "rlm", "szm", "dzm", "ngtdm", "ngldm"]
# mirp samples voxels for these two where there are many; IBSI's phantoms check them.
SAMPLED = {"morph_moran_i", "morph_geary_c"}
# What mirp adds to IBSI's tags: discretisation, distance, coarseness, dimension and aggregation.
SETTINGS_SUFFIX = re.compile(r"(_d1)?(_a0\.0)?(_[23]d)?(_[sv]_mrg)?(_fb[sn]_[wn][\d.]+)?$")

ORACLE = Path(__file__).with_name("mirp_oracle.py")


def sarcoma(shared: Path, patient: str, series: str = "CT") -> LesionCrop:
    """A soft-tissue sarcoma, cropped to one voxel around its mask."""
    folder = shared / "data" / "ct" / "sts" / patient
    image = nib.load(folder / f"{series}_image.nii.gz")
    mask = nib.load(folder / f"{series}_mask.nii.gz").get_fdata().T > 0
    box = tuple(slice(at.min() - 1, at.max() + 2) for at in np.nonzero(mask))
    x_mm, y_mm, z_mm = map(float, image.header.get_zooms())
    voxels = image.get_fdata(dtype=np.float32).T[box]
    return LesionCrop(voxels, mask[box], (z_mm, y_mm, x_mm), (0.5, 0.5, 0.5), series[:2])


def mirp_features(
    crop: LesionCrop, families: list[str], folder: Path, **settings: Any
) -> dict[str, float]:
    """What mirp measures of the same crop, by IBSI's tags."""
    z_mm, y_mm, x_mm = crop.spacing_mm
    affine = np.diag([-x_mm, -y_mm, z_mm, 1])
    nib.save(nib.Nifti1Image(crop.image.T, affine), folder / "image.nii")
    nib.save(nib.Nifti1Image(crop.mask.T.astype(np.uint8), affine), folder / "mask.nii")
    question = {
        "image": str(folder / "image.nii"),
        "mask": str(folder / "mask.nii"),
        "image_modality": crop.modality.lower(),
        "spline_order": 1,
        "roi_spline_order": 1,
        "anti_aliasing": False,
        "base_feature_families": families,
        **settings,
    }
    answer = subprocess.run(
        [sys.executable, str(ORACLE)],
        input=json.dumps(question),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured = json.loads(answer.stdout.splitlines()[-1])  # mirp may print before it
    return {SETTINGS_SUFFIX.sub("", name): value for name, value in measured.items()}


CT_SETTINGS = {
    "new_spacing": 2.0,
    "resegmentation_intensity_range": [-1000.0, 3071.0],
    "base_discretisation_method": "fixed_bin_size",
    "base_discretisation_bin_width": 25.0,
}
MR_SETTINGS = {
    "new_spacing": 2.0,
    "base_discretisation_method": "fixed_bin_number",
    "base_discretisation_n_bins": 32,
}


def assert_equal(found: dict[str, float], expected: dict[str, float], least: int) -> None:
    """At least so many features have a name in common, and all of these agree to 1e-5."""
    common = found.keys() & expected.keys() - SAMPLED
    assert len(common) >= least
    assert {tag: found[tag] for tag in common} == pytest.approx(
        {tag: expected[tag] for tag in common}, rel=1e-5, abs=1e-9
    )


@pytest.mark.parametrize("patient", ["STS_001", "STS_002", "STS_003", "STS_019"])
def test_intensity_and_texture_of_ct_sarcomas_equal_mirps(shared, tmp_path, patient):
    crop = sarcoma(shared, patient)
    assert_equal(
        lesion_features(crop), mirp_features(crop, FAMILIES, tmp_path, **CT_SETTINGS), least=120
    )


@pytest.mark.slow
def test_shape_of_a_ct_sarcoma_equals_mirps(shared, tmp_path):
    crop = sarcoma(shared, "STS_019")
    expected = mirp_features(crop, ["morph"], tmp_path, **CT_SETTINGS)
    assert_equal(lesion_features(crop), expected, least=23)


def test_intensity_and_texture_of_an_mr_sarcoma_equal_mirps(shared, tmp_path):
    crop = sarcoma(shared, "STS_002", "MR_T1")
    assert_equal(
        lesion_features(crop), mirp_features(crop, FAMILIES, tmp_path, **MR_SETTINGS), least=120
    )


def test_intensity_and_texture_of_a_key_slice_equal_mirps(shared, tmp_path):
    crop = sarcoma(shared, "STS_003")
    z = int(crop.mask.sum(axis=(1, 2)).argmax())
    y, x = (slice(at.min() - 1, at.max() + 2) for at in np.nonzero(crop.mask[z]))
    box = (slice(z, z + 1), y, x)
    key_slice = replace(crop, image=crop.image[box], mask=crop.mask[box])
    in_plane = {**CT_SETTINGS, "new_spacing": 1.0, "by_slice": True}
    expected = mirp_features(key_slice, FAMILIES, tmp_path, **in_plane)
    assert_equal(key_slice_features(crop), expected, least=120)
