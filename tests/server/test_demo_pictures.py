"""Pictures of the demo page: the right place, the right outline."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from tumorbase.server.demo.pictures import CtPictures, LesionPlace, draw_nuclei


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """40 x 40 x 10 voxels of 2 x 2 x 4 mm, muscle, with a bright block around (30, 20, 12) mm."""
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    image = np.full((40, 40, 10), 50, dtype=np.int16)
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[13:18, 8:13, 2:5] = 1
    image[mask > 0] = 230
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "CT_img.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "label.nii.gz")
    return tmp_path


def _pixels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_the_lesion_is_in_the_middle_and_outlined(study_folder):
    place = LesionPlace(study_folder, "primary", (30.0, 20.0, 12.0))
    pixels = _pixels(CtPictures().thumbnail(place, side_mm=40.0, side_px=200))
    is_outline = (pixels[..., 0] > 200) & (pixels[..., 2] < 60)
    rows, columns = np.nonzero(is_outline)
    assert abs(rows.mean() - 99.5) < 3
    assert abs(columns.mean() - 99.5) < 3
    # 5 voxels of 2 mm at 5 pixels a mm.
    assert abs((columns.max() - columns.min()) - 50) < 6
    assert pixels[100, 100].min() > 200
    assert pixels[10, 10].max() < 150


def test_nuclei_are_outlined_where_they_lie(tmp_path):
    path = tmp_path / "slide.tif"
    white = np.full((256, 256, 3), 240, dtype=np.uint8)
    tifffile.imwrite(path, white, tile=(256, 256), photometric="rgb", metadata=None)
    square = np.array([[60, 60], [80, 60], [80, 80], [60, 80]])
    pixels = _pixels(draw_nuclei(path, (40, 40), (100, 100), [square], ["tumour"]))
    coloured = np.argwhere(pixels[..., 2] < 120)
    assert coloured.min() >= 37
    assert coloured.max() <= 85
