"""DeepLesion key slices: PPPPPP_SS_RR_NNN.jpg (patient, study, series, slice) with boxes in a .tru.

The grey value v stands for v * 4095 / 255 - 1024 HU. A line of the .tru is one lesion: official
type 1 .. 8, then ymin xmin ymax xmax as fractions of the image's side. The boxes are RECIST marks
padded by 5 pixels (DL_info.csv): an ellipse in the box without its padding stands for the lesion.

Neither file states the pixel spacing. `NOMINAL_SPACING_MM`, the usual one of body CT, is taken to
measure texture and to scale what networks see; positions and axes in mm stay unknown. So do the
slices above and below, for which networks are given this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.deeplesion_types import UNKNOWN, region_of_type
from tumorbase.ingest.item import Context, Item, ItemRows, Plan, Rejected, VectorRows
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.lesion_crop import BOX_PADDING_PX, LesionCrop, LesionInVolume, input_kind
from tumorbase.store.errors import BadInput

ENCODER = "radiomics-2d"
NOMINAL_SPACING_MM = (1.0, 0.8, 0.8)  # (z, y, x)
MIN_HALF_AXIS_PX = 2.0
MARGIN_PX = 12
BODY_HU = -500.0
_NAME = re.compile(r"\d{6}_\d{2}_\d{2}_\d{3}")


@dataclass(frozen=True)
class TrueBox:
    """A lesion of a .tru file: region and box in pixels, which are counted from 0 at the middle of
    the first one.
    """

    region: str
    y_min_px: float
    x_min_px: float
    y_max_px: float
    x_max_px: float


def plan_key_slices(files: Sequence[Path]) -> Plan:
    """One item for each .jpg with its .tru; a file without the other is rejected."""
    items, rejected = [], []
    present = set(files)
    for path in files:
        other = path.with_suffix(".tru" if path.suffix == ".jpg" else ".jpg")
        if other not in present and not other.exists():
            rejected.append(Rejected(str(path), f"expected {other.name} beside it, there is none"))
        elif path.suffix == ".jpg" and not _NAME.fullmatch(path.stem):
            reason = "expected PATIENT_STUDY_SERIES_SLICE as in 000009_04_01_060.jpg"
            rejected.append(Rejected(str(path), reason))
        elif path.suffix == ".jpg":
            key, pair = f"key-slice:{path.stem}", (str(path), str(other))
            items.append(Item("key_slice", key, str(path), pair, path.stem[:6]))
    return Plan(tuple(items), tuple(rejected))


def read_key_slice(item: Item, context: Context) -> ItemRows:
    """The lesions of one key slice, encoded from its pixels by "radiomics-2d" and by networks.

    Raises:
        BadInput: the image or its boxes cannot be read, or a box lies outside the image.
    """
    image_path, boxes_path = item.files
    image_hu = read_slice_hu(image_path)
    boxes = read_boxes(boxes_path, image_hu.shape)
    stem = Path(image_path).stem
    lesions = {
        "lesion_id": [f"{stem}/{index + 1}" for index in range(len(boxes))],
        "patient_id": [stem[:6]] * len(boxes),
        "study_id": [stem[:9]] * len(boxes),
        "series_id": [stem] * len(boxes),  # this slice is all that is here of its series
        "region": [box.region for box in boxes],
        "type": [box.region if box.region != "unknown" else None for box in boxes],
    }
    series = {
        "series_id": [stem],
        "study_id": [stem[:9]],
        "patient_id": [stem[:6]],
        "modality": ["CT"],
        "path": [image_path],
        "slices": [1],
    }
    tables = {
        "patient": metadata_rows("patient", {"patient_id": [stem[:6]]}),
        "study": metadata_rows("study", {"patient_id": [stem[:6]], "study_id": [stem[:9]]}),
        "series": metadata_rows("series", series),
        "lesion": metadata_rows("lesion", lesions),
    }
    ids = {name: lesions[name] for name in ("lesion_id", "patient_id")}
    return ItemRows(tables, _encode(image_hu, boxes, ids, context))


def read_slice_hu(path: str) -> np.ndarray:
    """The slice in HU, float32 (y, x), as exact as 8 bits and JPEG let it be.

    Raises:
        BadInput: it is no image, or cut short.
    """
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"), dtype=np.float32)
    except (UnidentifiedImageError, OSError) as error:
        raise BadInput(path, f"cannot be read as an image: {error}") from error
    return grey * np.float32(4095.0 / 255.0) - np.float32(1024.0)


def read_boxes(path: str, shape: tuple[int, ...]) -> list[TrueBox]:
    """The lesions of a .tru file, for an image of `shape` (y, x).

    Raises:
        BadInput: a line is not a type and four fractions of an upright box, or no lesion is there.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"cannot be read: {error}") from error
    boxes = [
        _box(path, number, line, shape) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not boxes:
        raise BadInput(path, "expected a line for each lesion, got none")
    return boxes


def crop_lesion(image_hu: np.ndarray, box: TrueBox) -> LesionCrop:
    """The lesion cut out of its slice with a margin; its height in the body is unknown: 0.5.

    Args:
        image_hu: float32 (y, x).
        box: in pixels of the image.
    """
    centre = np.array([box.y_min_px + box.y_max_px, box.x_min_px + box.x_max_px]) / 2
    sides = np.array([box.y_max_px - box.y_min_px, box.x_max_px - box.x_min_px])
    half_axes = np.maximum(sides / 2 - BOX_PADDING_PX, MIN_HALF_AXIS_PX)
    y, x = np.ogrid[: image_hu.shape[0], : image_hu.shape[1]]
    mask = ((y - centre[0]) / half_axes[0]) ** 2 + ((x - centre[1]) / half_axes[1]) ** 2 <= 1.0
    low = np.maximum(np.floor(centre - half_axes).astype(int) - MARGIN_PX, 0)
    high = np.ceil(centre + half_axes).astype(int) + MARGIN_PX + 1
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    y_body, x_body = _body(image_hu)
    location = (_relative(centre[1], x_body), _relative(centre[0], y_body), 0.5)
    return LesionCrop(image_hu[window][None], mask[window][None], NOMINAL_SPACING_MM, location)


def _encode(
    image_hu: np.ndarray, boxes: Sequence[TrueBox], ids: Mapping[str, Any], context: Context
) -> list[VectorRows]:
    """Staged vectors of the lesions by each encoder of the run that can do with one slice."""
    staged = []
    for encoder in (*encoders_of(context, "lesion"), *encoders_of(context, "body_part")):
        if encoder.spec.name == ENCODER:
            vectors = encoder.encode([crop_lesion(image_hu, box) for box in boxes])
        elif input_kind(encoder) is LesionInVolume:
            vectors = encoder.encode([_in_slice(image_hu, box) for box in boxes])
        else:
            continue
        staged.append(stage(context, encoder.spec, [vector_batch(encoder.spec, ids, vectors)]))
    return staged


def _in_slice(image_hu: np.ndarray, box: TrueBox) -> LesionInVolume:
    box_px = (box.x_min_px, box.y_min_px, box.x_max_px, box.y_max_px)
    return LesionInVolume(image_hu[None], 0, box_px, NOMINAL_SPACING_MM)


def _box(path: str, number: int, line: str, shape: tuple[int, ...]) -> TrueBox:
    try:
        kind, y_min, x_min, y_max, x_max = (float(text) for text in line.split())
    except ValueError as error:
        raise BadInput(path, f"line {number}: expected 5 numbers, got {line!r}") from error
    region = region_of_type(kind)
    if region is None:
        raise BadInput(path, f"line {number}: type must be 1 .. 8 or {UNKNOWN}, got {kind:g}")
    if not (0 <= y_min < y_max <= 1 and 0 <= x_min < x_max <= 1):
        raise BadInput(path, f"line {number}: expected a box within [0, 1], got {line!r}")
    height, width = shape
    y_min_px, x_min_px = y_min * height - 1, x_min * width - 1  # DL_info.csv counts from 1
    y_max_px, x_max_px = y_max * height - 1, x_max * width - 1
    return TrueBox(region, y_min_px, x_min_px, y_max_px, x_max_px)


def _body(image_hu: np.ndarray) -> tuple[slice, slice]:
    """Bounding box (y, x) of the largest part above -500 HU; the image if there is none."""
    parts, _ = ndimage.label(ndimage.binary_opening(image_hu > BODY_HU, iterations=3))
    sizes = np.bincount(parts.ravel())[1:]
    if not len(sizes):
        height, width = image_hu.shape
        return slice(0, height), slice(0, width)
    boxes: list[tuple[slice, slice]] = ndimage.find_objects(parts)
    return boxes[int(sizes.argmax())]


def _relative(position_px: float, extent: slice) -> float:
    return float(np.clip((position_px - extent.start) / (extent.stop - extent.start), 0.0, 1.0))
