"""Nuclei that HoVer-Net or CellViT found: JSON files of contours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from tumorbase.ingest.chosen_encoders import encoders_of, finds_nuclei
from tumorbase.ingest.imported_nuclei import nuclei_key
from tumorbase.ingest.item import Context, Item, ItemRows, Plan
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.nucleus_rows import (
    Contours,
    Nuclei,
    measured_contours,
    shape_batch,
)
from tumorbase.ingest.staging import stage
from tumorbase.models.encoders import Encoder
from tumorbase.store.errors import BadInput

# Both networks work at 40x. Where a file does not say at what it was made, the shapes are taken to
# be of that, so that they can be compared at all, and the rows' mpp is null.
CONVENTION_MPP = 0.25
UM_PER_PX_AT_1X = 10.0
MAX_SIDE_PX = 2_000.0  # of a nucleus; what is larger is no contour in pixels


@dataclass(frozen=True)
class _Found:
    """What a file says of its nuclei, in its order."""

    names: list[str]
    contours: Contours
    types: list[str | None]
    probabilities: list[float | None]
    mpp: float | None


def plan_nuclei(paths: Sequence[Path], patient_of: Callable[[str], str]) -> Plan:
    """Items of kind "nuclei", one a JSON file; the slide's id is the file's stem.

    Args:
        paths: files, or folders whose .json files are taken.
        patient_of: the patient of a file, by its name.
    """
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])
    ]
    return Plan(
        tuple(
            Item(
                "nuclei",
                nuclei_key(file.stem),
                str(file),
                (str(file),),
                patient_of(file.name),
                {"slide_id": file.stem},
            )
            for file in files
        )
    )


def read_nuclei(item: Item, context: Context) -> ItemRows:
    """Rows of the nuclei of one file: place, type, shape measured on the filled contours, vector.

    Contours are (x, y) in level-0 pixels. HoVer-Net: {"mag", "nuc": {id: {"contour", "type",
    "type_prob"}}}; CellViT: {"wsi_metadata", "type_map", "cells": [{"contour", "type",
    "type_prob"}]}. A type is its name where the file has a type_map, else its number. The mpp is
    what the file states (HoVer-Net's magnification: 40x is 0.25), else `context.mpp`, else null and
    shapes are taken to be of 0.25.

    Raises:
        BadInput: no JSON of either kind; a nucleus without contour, or with one of fewer than three
            points, not finite, or wider than 2,000 pixels; the patient is not known.
    """
    if not item.patient_id:
        raise BadInput(item.path, "the patient is not known: patient_id is empty")
    encoders = [e for e in encoders_of(context, "nucleus") if not finds_nuclei(e)]
    started = perf_counter()
    found = _read(item.path)
    mpp = found.mpp or context.mpp
    read_at = perf_counter()
    ids = {"slide_id": item.details["slide_id"], "patient_id": item.patient_id}
    rows = ItemRows()
    rows.tables = {
        "patient": metadata_rows("patient", {"patient_id": [item.patient_id]}),
        "slide": metadata_rows(
            "slide", {**{name: [value] for name, value in ids.items()}, "mpp": [mpp]}
        ),
    }
    rows.vectors = [
        stage(context, encoder.spec, _batches(found, mpp, encoder, ids)) for encoder in encoders
    ]
    rows.seconds = {"read": read_at - started, "encode": perf_counter() - read_at}
    return rows


def _batches(
    found: _Found, mpp: float | None, encoder: Encoder, ids: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    if not found.names:
        return
    for index, shapes in measured_contours(found.contours):
        y, x = shapes.centroid.T
        nuclei = Nuclei(
            nucleus_id=[f"{ids['slide_id']}/{found.names[i]}" for i in index],
            x_level0_px=x,
            y_level0_px=y,
            shapes=shapes,
            shape_mpp=mpp or CONVENTION_MPP,
            stated_mpp=mpp,
            type=[found.types[i] for i in index],
            type_probability=[found.probabilities[i] for i in index],
        )
        yield shape_batch(encoder, nuclei, ids["slide_id"], ids["patient_id"])


def _read(path: str) -> _Found:
    try:
        with Path(path).open(encoding="utf-8") as file:
            content = json.load(file, object_hook=_packed)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise BadInput(path, f"not JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("nuc"), dict):
        named = list(content["nuc"].items())
        return _found(path, named, {}, _hovernet_mpp(path, content.get("mag")))
    if isinstance(content, dict) and isinstance(content.get("cells"), list):
        named = [(str(i), cell) for i, cell in enumerate(content["cells"])]
        return _found(path, named, _type_map(path, content), _cellvit_mpp(path, content))
    raise BadInput(path, 'expected HoVer-Net\'s {"nuc": {..}} or CellViT\'s {"cells": [..]}')


def _packed(content: dict[str, Any]) -> dict[str, Any]:
    """An object of the file as soon as it is read: of a nucleus what is taken, its contour as an
    array. A whole slide's contours as lists would take ten times the file's size.
    """
    if "contour" not in content:
        return content
    taken = {name: content.get(name) for name in ("type", "type_prob")}
    try:
        return {**taken, "contour": np.array(content["contour"], dtype=np.float64)}
    except (TypeError, ValueError, OverflowError):  # of another form: none
        return taken


def _found(
    path: str, named: list[tuple[str, Any]], type_map: Mapping[str, str], mpp: float | None
) -> _Found:
    wrong = next((name for name, nucleus in named if not _has_contour(nucleus)), None)
    if wrong is not None:
        reason = "expected a contour of at least three points (x, y), each two numbers"
        raise BadInput(path, f"nucleus {wrong}: {reason}")
    return _Found(
        names=[name for name, _ in named],
        contours=_contours(path, named),
        types=[_type(nucleus.get("type"), type_map) for _, nucleus in named],
        probabilities=[_probability(path, name, n.get("type_prob")) for name, n in named],
        mpp=mpp,
    )


def _contours(path: str, named: list[tuple[str, dict[str, Any]]]) -> Contours:
    if not named:
        return Contours(np.empty((0, 2)), np.empty(0, dtype=np.int64))
    lengths = np.array([len(nucleus["contour"]) for _, nucleus in named], dtype=np.int64)
    points = np.concatenate([nucleus["contour"] for _, nucleus in named])
    if not np.isfinite(points).all():
        raise BadInput(path, "expected finite contours, got NaN or infinity")
    start = np.cumsum(lengths) - lengths
    extent = np.maximum.reduceat(points, start) - np.minimum.reduceat(points, start)
    if extent.max() > MAX_SIDE_PX:
        name = named[int(extent.max(axis=1).argmax())][0]
        reason = f"expected at most {MAX_SIDE_PX:.0f} pixels, got {extent.max():.0f}"
        raise BadInput(path, f"nucleus {name}: {reason}")
    return Contours(points, lengths)


def _has_contour(nucleus: Any) -> bool:
    if not isinstance(nucleus, dict) or "contour" not in nucleus:
        return False
    contour = nucleus["contour"]
    return contour.ndim == 2 and len(contour) >= 3 and contour.shape[1] == 2


def _type(value: Any, type_map: Mapping[str, str]) -> str | None:
    return None if value is None else type_map.get(str(value), str(value))


def _probability(path: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        probability = float(value)
    except (TypeError, ValueError) as error:
        raise BadInput(path, f"nucleus {name}: expected a type_prob, got {value!r}") from error
    if not 0.0 <= probability <= 1.0:
        raise BadInput(path, f"nucleus {name}: type_prob must be in [0, 1], got {value!r}")
    return probability


def _hovernet_mpp(path: str, magnification: Any) -> float | None:
    """HoVer-Net writes the magnification it worked at; null for tiles, whose it does not know."""
    if magnification is None:
        return None
    return UM_PER_PX_AT_1X / _positive(path, "mag", magnification)


def _cellvit_mpp(path: str, content: Mapping[str, Any]) -> float | None:
    metadata = content.get("wsi_metadata")
    if not isinstance(metadata, dict):
        return None
    if metadata.get("base_mpp") is not None:
        downsampling = _positive(path, "downsampling", metadata.get("downsampling") or 1)
        return _positive(path, "base_mpp", metadata["base_mpp"]) * downsampling
    if metadata.get("magnification") is not None:
        return UM_PER_PX_AT_1X / _positive(path, "magnification", metadata["magnification"])
    return None


def _type_map(path: str, content: Mapping[str, Any]) -> dict[str, str]:
    """CellViT's names of its type numbers, empty where the file has none."""
    names = content.get("type_map") or {}
    if not isinstance(names, dict):
        raise BadInput(path, f"expected type_map to be an object, got {type(names).__name__}")
    return {str(number): str(name) for number, name in names.items()}


def _positive(path: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise BadInput(path, f"{name} must be a positive number, got {value!r}")
    return number
