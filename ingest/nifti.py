"""Volumes and masks from NIfTI files, in LPS."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from tumorbase.ingest.volume import Grid, Volume, turn_to_lps, unmeasurable
from tumorbase.store.errors import BadInput

T = TypeVar("T")

# What nibabel, gzip and numpy raise on a file that is cut short or is something else.
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    EOFError,
    MemoryError,  # a damaged shape asks for terabytes
    OSError,
    ValueError,
    zlib.error,
)
MAX_LABEL = 65535
_FLAT = 1e-3  # volume that unit vectors along the axes span; 1 where they are at right angles
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNIT_MM = {1: 1000.0, 3: 0.001}  # metre, micrometre; any other code is taken as mm


def read_volume(path: str | Path) -> Volume:
    """The image as float32 with its scale slope applied.

    The sform places it if its code is set, else the qform. A fourth axis of length 1 is dropped.

    Raises:
        BadInput: not a whole NIfTI file, not one 3D frame of numbers, spacing that is not positive,
            NaN or infinite voxels.
    """
    image = _open(path)
    voxels = _read(path, lambda: image.get_fdata(dtype=np.float32, caching="unchanged"))
    if reason := unmeasurable(voxels):
        raise BadInput(str(path), reason)
    turned, grid = _turn(image, voxels)
    return Volume(turned, grid)


def read_labels(path: str | Path) -> tuple[np.ndarray, Grid]:
    """The mask as whole labels >= 0, 0 for background, uint8 or uint16 (z, y, x), and its grid.

    Raises:
        BadInput: as `read_volume`, or labels that are not whole numbers in [0, 65535].
    """
    image = _open(path)
    values = _read(path, lambda: np.asanyarray(image.dataobj))
    if values.dtype.kind not in "iub":
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise BadInput(str(path), "mask labels must be finite, some are NaN or infinite")
        labels = np.rint(values).astype(np.int32)
        if np.abs(values - labels).max(initial=0) > 1e-3:
            raise BadInput(str(path), "mask labels must be whole numbers, some are fractions")
        values = labels
    if values.min(initial=0) < 0:
        raise BadInput(str(path), f"mask labels must be >= 0, the least is {values.min()}")
    if values.max(initial=0) > MAX_LABEL:
        raise BadInput(str(path), f"mask labels must be <= {MAX_LABEL}, got {values.max()}")
    smallest = np.uint16 if values.max(initial=0) > 255 else np.uint8
    return _turn(image, values.astype(smallest, copy=False))


def _open(path: str | Path) -> nib.Nifti1Image:
    """The image, its header checked, its voxels not yet read."""
    if Path(path).stat().st_size == 0:
        raise BadInput(str(path), "the file is empty (zero bytes)")
    image = _read(path, lambda: nib.load(path, mmap=False))
    if not isinstance(image, nib.Nifti1Image):
        raise BadInput(str(path), f"expected NIfTI, got {type(image).__name__}")
    frames = image.shape[3:]
    if len(image.shape) < 3 or any(length != 1 for length in frames):
        raise BadInput(str(path), f"expected one 3D frame, got shape {image.shape}")
    if image.get_data_dtype().kind not in "iuf":
        raise BadInput(str(path), f"expected numbers as voxels, got {image.get_data_dtype()}")
    spacing = _stated_spacing(path, image)
    sides = np.linalg.norm(image.affine[:3, :3], axis=0)
    if not (spacing > 0).all() or not (sides > 0).all() or not np.isfinite(image.affine).all():
        stated = ", ".join(f"{mm:g}" for mm in spacing)
        raise BadInput(str(path), f"spacing must be positive, the header states ({stated})")
    if abs(np.linalg.det(image.affine[:3, :3] / sides)) < _FLAT:
        raise BadInput(str(path), "the axes of the affine must span space, they lie in a plane")
    return image


def _stated_spacing(path: str | Path, image: nib.Nifti1Image) -> np.ndarray:
    """Pixdim 1 to 3 as written: loading silently turns 0 into 1 and negative into positive."""
    with ImageOpener(str(path)) as file:
        return type(image.header).from_fileobj(file, check=False)["pixdim"][1:4]


def _read(path: str | Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except _UNREADABLE as error:
        raise BadInput(str(path), f"not a whole NIfTI file: {error}") from error


def _turn(image: nib.Nifti1Image, values: np.ndarray) -> tuple[np.ndarray, Grid]:
    unit_mm = _UNIT_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    scale = np.diag([unit_mm, unit_mm, unit_mm, 1.0])
    return turn_to_lps(values.reshape(values.shape[:3]), scale @ _RAS_TO_LPS @ image.affine)
