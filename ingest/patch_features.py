"""Patch features that CLAM or TRIDENT made: .h5 with `features` and `coords`, or .pt tensors."""

from __future__ import annotations

import hashlib
import math
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.item import Context, Item, ItemRows, Plan
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.pooled_slide import stage_pooled
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import EncoderSpec, canonical
from tumorbase.models.pooling import RunningMoments
from tumorbase.store.errors import BadInput

SUFFIXES = (".h5", ".hdf5", ".pt")
CHUNK_ROWS = 16_384
UM_PER_PX_AT_1X = 10.0
# What the restricted unpickler raises on bytes that are no pickle, or one of other things.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
_CLAM_FOLDERS = ("h5_files", "pt_files")  # inside of the folder that names the set


@dataclass(frozen=True)
class _Features:
    """An open file: features (n, dim); `coords` (n, 2), upper left corners in level-0 pixels; and
    what it says of its patches. None is what it does not say.
    """

    rows: int
    dim: int
    read: Callable[[int, int], np.ndarray]
    coords: np.ndarray | None
    side_level0_px: int | None = None
    mpp: float | None = None


def plan_patch_features(paths: Sequence[Path], patient_of: Callable[[str], str]) -> Plan:
    """Items of kind "patch_features", one a slide and set; the slide's id is the file's stem.

    A set is what one encoder made, and is named by its folder (CLAM's h5_files and pt_files: by the
    folder around them). Where a slide has both .h5 and .pt in one set, the .h5 is taken, which has
    coordinates.

    Args:
        paths: files, or folders whose .h5, .hdf5 and .pt files are taken.
        patient_of: the patient of a file, by its name.
    """
    files = list(_files(paths))
    with_coords = {_key(file) for file in files if file.suffix.lower() != ".pt"}
    return Plan(
        tuple(
            Item(
                "patch_features",
                _key(file),
                str(file),
                (str(file),),
                patient_of(file.name),
                {"slide_id": file.stem, "set": set_name(file)},
            )
            for file in files
            if file.suffix.lower() != ".pt" or _key(file) not in with_coords
        )
    )


def set_name(file: Path) -> str:
    """The name of the set that a file belongs to: "features-uni" in a folder "uni", and a folder's
    own name where that begins with "features".
    """
    folder = file.resolve().parent
    if folder.name in _CLAM_FOLDERS:
        folder = folder.parent
    return folder.name if folder.name.startswith("features") else f"features-{folder.name}"


def read_patch_features(item: Item, context: Context) -> ItemRows:
    """Rows of one slide's patch features, and their pooled slide vector.

    An .h5 holds `features`, float (n, dim) or (1, n, dim), and `coords`, (n, 2) upper left corners
    in level-0 pixels, with the attributes that CLAM or TRIDENT give them; a .pt holds one tensor
    (n, dim), loaded with weights_only, and its patches have their index for an id. The rows stream
    through: memory does not grow with them, but for the coordinates.

    Raises:
        BadInput: not such a file; coordinates and features of different number; a patch twice; NaN
            or infinity; the patient is not known.
    """
    if not item.patient_id:
        raise BadInput(item.path, "the patient is not known: patient_id is empty")
    started = perf_counter()
    ids = {"slide_id": item.details["slide_id"], "patient_id": item.patient_id}
    rows = ItemRows()
    with _open(item.path) as features:
        spec = features_spec(item.details["set"], features.dim)
        moments = RunningMoments(features.dim)
        rows.vectors = [stage(context, spec, _batches(item.path, features, spec, ids, moments))]
    rows.vectors += stage_pooled(context, spec, moments, ids)
    rows.tables = {
        "patient": metadata_rows("patient", {"patient_id": [item.patient_id]}),
        "slide": metadata_rows("slide", {name: [value] for name, value in ids.items()}),
    }
    rows.seconds = {"read": perf_counter() - started}
    return rows


def features_spec(name: str, dim: int) -> EncoderSpec:
    """The encoder of an imported set: what made it is known by the set's name alone."""
    preprocessing = canonical({"source": "imported", "set": name, "dim": dim})
    no_weights = hashlib.sha256(b"").hexdigest()  # the set does not tell of which weights it is
    return EncoderSpec(name, "1", "patch", dim, no_weights, preprocessing)


def _key(file: Path) -> str:
    return f"features:{file.stem}/{set_name(file)}"


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
        else:
            yield from (f for f in sorted(path.rglob("*")) if f.suffix.lower() in SUFFIXES)


def _batches(
    path: str,
    features: _Features,
    spec: EncoderSpec,
    ids: dict[str, str],
    moments: RunningMoments,
) -> Iterator[pa.RecordBatch]:
    for start in range(0, features.rows, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, features.rows)
        vectors = features.read(start, stop)
        if not np.isfinite(vectors).all():
            row = start + int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise BadInput(path, f"features must be finite, got NaN or infinity in row {row}")
        moments.add(vectors)
        yield vector_batch(spec, _columns(features, start, stop, ids), vectors)


def _columns(features: _Features, start: int, stop: int, ids: dict[str, str]) -> dict[str, Any]:
    """Columns of `VECTOR_ROWS["patch"]` for some rows."""
    count = stop - start
    nothing = pa.nulls(count)
    slide_id = pa.repeat(ids["slide_id"], count)
    columns = {
        "slide_id": slide_id,
        "patient_id": pa.repeat(ids["patient_id"], count),
        "side_level0_px": _constant(features.side_level0_px, count),
        "mpp": _constant(features.mpp, count),
        "tissue_fraction": nothing,
    }
    if features.coords is None:
        place = pa.array(np.arange(start, stop)).cast(pa.string())
        columns |= {"x_level0_px": nothing, "y_level0_px": nothing}
    else:
        x, y = (pa.array(values) for values in features.coords[start:stop].T)
        place = pc.binary_join_element_wise(x.cast(pa.string()), y.cast(pa.string()), "_")
        columns |= {"x_level0_px": x, "y_level0_px": y}
    return {"patch_id": pc.binary_join_element_wise(slide_id, place, "/"), **columns}


def _constant(value: float | None, count: int) -> pa.Array:
    return pa.nulls(count) if value is None else pa.repeat(value, count)


@contextmanager
def _open(path: str) -> Iterator[_Features]:
    if Path(path).stat().st_size == 0:
        raise BadInput(path, "the file is empty (0 bytes)")
    if Path(path).suffix.lower() == ".pt":
        yield _of_tensor(path)
        return
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadInput(path, f"not an HDF5 file: {error}") from error
    with file:
        yield _of_h5(path, file)


def _of_h5(path: str, file: h5py.File) -> _Features:
    missing = [n for n in ("features", "coords") if not isinstance(file.get(n), h5py.Dataset)]
    if missing:
        came = ", ".join(sorted(file)) or "nothing"
        raise BadInput(path, f"expected datasets features and coords, got {came}")
    features, coords = file["features"], file["coords"]
    rows, dim = _shape(path, "features", features.shape)
    if features.dtype.kind != "f":
        raise BadInput(path, f"features must be floating point, got {features.dtype}")
    places, axes = _shape(path, "coords", coords.shape)
    if (places, axes) != (rows, 2):
        reason = f"expected coords of shape ({rows}, 2) for {rows} features, got {coords.shape}"
        raise BadInput(path, reason)

    def read(start: int, stop: int) -> np.ndarray:
        part = features[0, start:stop] if features.ndim == 3 else features[start:stop]
        return _as_float32(part)

    attributes = dict(coords.attrs)
    corners = _corners(path, coords[()].reshape(rows, 2))
    return _Features(rows, dim, read, corners, _side(path, attributes), _mpp(path, attributes))


def _of_tensor(path: str) -> _Features:
    import torch  # slow to load, and most sets are .h5

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of the pickle's protocol; it fails or not
            tensor = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except _UNPICKLING_ERRORS as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(path, f"not a tensor that is safe to load: {first_line}") from error
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise BadInput(path, f"expected one floating point tensor, got {_kind(tensor)}")
    rows, dim = _shape(path, "the tensor", tuple(tensor.shape))
    matrix = tensor.reshape(rows, dim)

    def read(start: int, stop: int) -> np.ndarray:
        return matrix[start:stop].float().numpy()

    return _Features(rows, dim, read, None)


def _kind(value: Any) -> str:
    return str(getattr(value, "dtype", type(value).__name__))


def _as_float32(part: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and that is refused
        return part.astype(np.float32, copy=False)


def _shape(path: str, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of (n, dim) or (1, n, dim)."""
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or shape[1] == 0:
        raise BadInput(path, f"{name} must have shape (n, dim) or (1, n, dim), got {shape}")
    return shape[0], shape[1]


def _corners(path: str, coords: np.ndarray) -> np.ndarray:
    """The coordinates as int64 (n, 2), each pair once."""
    is_number = coords.dtype.kind in "iuf"
    if not is_number or not np.isfinite(coords).all() or (np.rint(coords) != coords).any():
        raise BadInput(path, f"coords must be whole pixels, got other values of {coords.dtype}")
    corners = coords.astype(np.int64)
    packed = np.sort((corners[:, 0] << 32) + corners[:, 1])
    if (packed[1:] == packed[:-1]).any():
        twice = int(packed[1:][packed[1:] == packed[:-1]][0])
        raise BadInput(
            path, f"expected each patch once, got {twice >> 32}_{twice & 0xFFFFFFFF} twice"
        )
    return corners


def _side(path: str, attributes: dict[str, Any]) -> int | None:
    """A patch's side in level-0 pixels: as TRIDENT states it, or CLAM by its level's downsample."""
    if "patch_size_level0" in attributes:
        return round(_positive(path, "patch_size_level0", attributes["patch_size_level0"]))
    if "patch_size" in attributes and "downsample" in attributes:
        size = _positive(path, "patch_size", attributes["patch_size"])
        return round(size * _positive(path, "downsample", attributes["downsample"]))
    return None


def _mpp(path: str, attributes: dict[str, Any]) -> float | None:
    """The mpp of the encoded patches, by TRIDENT's magnification (20x is 0.5)."""
    if "target_magnification" not in attributes:
        return None
    magnification = _positive(path, "target_magnification", attributes["target_magnification"])
    return UM_PER_PX_AT_1X / magnification


def _positive(path: str, name: str, value: Any) -> float:
    try:
        number = float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise BadInput(path, f"the attribute {name} of coords must be positive, got {value!r}")
    return number
