"""Radiomics of the soft-tissue sarcomas beside mirp: seconds a lesion, ratio, and deviation.

Both measure the same voxels (the mask with a margin of one voxel): resample to 2 mm, discretise in
bins of 25 HU, same families of features. Most of mirp's time goes into an estimate of Moran's I and
Geary's C from random samples of 100 voxels, so the second pair of columns leaves these two out on
both sides. mirp's time includes reading its two small files, and minimum bounding boxes and
ellipsoids, for which the IBSI has no reference values and which ours leave out.

    python benchmarks/radiomics.py
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import nibabel as nib
import numpy as np
from mirp import extract_features
from mirp._features.morph_3d_data import Data3DSpatial

from tumorbase.models.lesion_crop import LesionCrop
from tumorbase.models.lesion_radiomics import lesion_features

PATIENTS = ("STS_001", "STS_002", "STS_003", "STS_019")
FAMILIES = ("morph", "stat", "ih", "cm", "rlm", "szm", "dzm", "ngtdm", "ngldm")
SAMPLED = ("morph_moran_i", "morph_geary_c")
SETTINGS_SUFFIX = re.compile(r"(_d1)?(_a0\.0)?(_3d)?(_v_mrg)?(_fbs_w[\d.]+)?$")


def main() -> None:
    """Prints the table."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    sts = Path(os.environ.get("TUMORBASE_SHARED", beside)) / "data" / "ct" / "sts"
    logging.disable(logging.INFO)
    crops = {patient: read_crop(sts / patient) for patient in PATIENTS}
    timed_mirp(crops["STS_019"], repeats=1)  # imports ITK
    deviation: dict[str, float] = {}
    print(f"{'':26}all features              without Moran's I and Geary's C")
    print("lesion    voxels   ours s   mirp s  ratio    ours s   mirp s  ratio")
    for patient, crop in crops.items():
        theirs_s, theirs = timed_mirp(crop, repeats=1)
        ours_s, ours = timed_ours(crop)
        with no_autocorrelation():
            less_theirs_s, _ = timed_mirp(crop, repeats=3)
            less_ours_s, _ = timed_ours(crop)
        print(
            f"{patient}  {int(crop.mask.sum()):7d}  "
            f"{ours_s:7.4f}  {theirs_s:7.2f}  {theirs_s / ours_s:5.0f}   "
            f"{less_ours_s:7.4f}  {less_theirs_s:7.2f}  {less_theirs_s / less_ours_s:5.0f}"
        )
        collect_deviation(deviation, ours, theirs)
    print("\nfamily          worst relative deviation from mirp")
    for family, worst in deviation.items():
        print(f"{family:14s}  {worst:.1e}")


def read_crop(folder: Path) -> LesionCrop:
    """The CT of a sarcoma, one voxel around its mask."""
    image = nib.Nifti1Image.from_filename(folder / "CT_image.nii.gz")
    mask = nib.Nifti1Image.from_filename(folder / "CT_mask.nii.gz").get_fdata().T > 0
    box = tuple(slice(at.min() - 1, at.max() + 2) for at in np.nonzero(mask))
    x_mm, y_mm, z_mm = map(float, image.header.get_zooms())
    voxels = image.get_fdata(dtype=np.float32).T[box]
    return LesionCrop(voxels, mask[box], (z_mm, y_mm, x_mm), (0.5, 0.5, 0.5))


def timed_ours(crop: LesionCrop, repeats: int = 7) -> tuple[float, dict[str, float]]:
    """The fewest seconds of several runs, and the features."""
    fewest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        features = lesion_features(crop)
        fewest = min(fewest, time.perf_counter() - start)
    return fewest, features


def timed_mirp(crop: LesionCrop, repeats: int) -> tuple[float, dict[str, float]]:
    """The fewest seconds of several runs, and mirp's features."""
    fewest = float("inf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(crop, folder)
        for _ in range(repeats):
            start = time.perf_counter()
            features = run_mirp(folder)
            fewest = min(fewest, time.perf_counter() - start)
    return fewest, features


@contextmanager
def no_autocorrelation() -> Iterator[None]:
    """Takes the sums over pairs of voxels out of both implementations."""
    ours = "tumorbase.models.lesion_radiomics.spatial_autocorrelation"
    with (
        patch.object(Data3DSpatial, "_spatial_distribution", lambda self, data: (0.0, 0.0)),
        patch(ours, lambda image, mask, spacing_mm: {}),
    ):
        yield


def write(crop: LesionCrop, folder: Path) -> None:
    """Image and mask as uncompressed NIfTI."""
    z_mm, y_mm, x_mm = crop.spacing_mm
    affine = np.diag([-x_mm, -y_mm, z_mm, 1])
    nib.save(nib.Nifti1Image(crop.image.T, affine), folder / "image.nii")
    nib.save(nib.Nifti1Image(crop.mask.T.astype(np.uint8), affine), folder / "mask.nii")


def run_mirp(folder: Path) -> dict[str, float]:
    """Mirp with the settings of `LesionRadiomics`."""
    (table,) = extract_features(
        image=str(folder / "image.nii"),
        mask=str(folder / "mask.nii"),
        image_modality="ct",
        new_spacing=2.0,
        spline_order=1,
        roi_spline_order=1,
        anti_aliasing=False,
        resegmentation_intensity_range=[-1000.0, 3071.0],
        base_discretisation_method="fixed_bin_size",
        base_discretisation_bin_width=25.0,
        base_feature_families=list(FAMILIES),
    )
    return {SETTINGS_SUFFIX.sub("", name): value for name, value in table.iloc[0].items()}


def collect_deviation(
    worst: dict[str, float], ours: dict[str, float], theirs: dict[str, float]
) -> None:
    """Raises each family's worst relative deviation to that of these features."""
    for tag in ours.keys() & theirs.keys():
        family = "moran, geary" if tag in SAMPLED else tag.split("_")[0]
        off = abs(ours[tag] - theirs[tag]) / max(abs(theirs[tag]), 1e-12)
        worst[family] = max(worst.get(family, 0.0), float(off))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # ITK, which mirp reads with, brings Python down when the interpreter ends
