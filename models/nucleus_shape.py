"""The shape of nuclei: 15 properties (16 columns) of each, and the encoder made of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tumorbase.models._nucleus_runs import SUMS, measure_runs
from tumorbase.models.encoders import EncoderSpec, canonical

# Columns as in scikit-image's regionprops_table, each with its power of length. They are 15
# properties: the two eigenvalues are one.
LENGTH_POWER = {
    "area": 2,
    "area_bbox": 2,
    "area_convex": 2,
    "eccentricity": 0,
    "equivalent_diameter_area": 1,
    "euler_number": 0,
    "extent": 0,
    "feret_diameter_max": 1,
    "area_filled": 2,
    "inertia_tensor_eigvals-0": 2,
    "inertia_tensor_eigvals-1": 2,
    "axis_major_length": 1,
    "axis_minor_length": 1,
    "orientation": 0,  # radians
    "perimeter": 1,
    "solidity": 0,
}
FEATURES = tuple(LENGTH_POWER)
UNIT_SUFFIX = {0: "", 1: "_um", 2: "_um2"}

_TABLE = pa.schema(
    [
        ("label", pa.int64()),
        *((name, pa.int64() if name == "euler_number" else pa.float64()) for name in FEATURES),
    ]
)


@dataclass(frozen=True)
class NucleusMeasures:
    """Every nucleus of a label map, in ascending order of its label; lengths in pixels.

    `label` is int64 (n,); `features` float64 (16, n), a row for each of FEATURES; `centroid`
    float64 (n, 2), (row, column); `bbox` int64 (n, 4), (row, column) of the first pixel and past
    the last.
    """

    label: np.ndarray
    features: np.ndarray
    centroid: np.ndarray
    bbox: np.ndarray

    def table(self) -> pa.Table:
        """`label` and the features, as `measure_nuclei` returns them."""
        columns = [
            values.astype(np.int64) if name == "euler_number" else values
            for name, values in zip(FEATURES, self.features, strict=True)
        ]
        return pa.Table.from_arrays([pa.array(c) for c in (self.label, *columns)], schema=_TABLE)


def measure_nuclei(labels: np.ndarray) -> pa.Table:
    """Shape of every nucleus of a label map, equal to scikit-image's regionprops_table.

    Args:
        labels: any integer type, (H, W); 0 is background, any other number one nucleus, in as many
            pieces as it has.

    Returns:
        `label` (int64), then FEATURES in pixels (float64; `euler_number` int64), in ascending order
        of the label.

    Raises:
        ValueError: `labels` is not a map of whole numbers from 0.
    """
    return measure(labels).table()


def nucleus_centroids(labels: np.ndarray) -> np.ndarray:
    """Mean (row, column) of each nucleus, float64 (n, 2), in ascending order of the label.

    Raises:
        ValueError: `labels` is not a map of whole numbers from 0.
    """
    return measure(labels).centroid


def measure(labels: np.ndarray) -> NucleusMeasures:
    """Shape, place and bounding box of every nucleus of `labels`, integers of shape (H, W).

    The definitions are those of scikit-image's regionprops, to which the names belong: the convex
    hull is that of the middles of pixel edges, components are joined over edges and corners, and
    holes are what the background cannot reach over edges and corners (for `area_filled`).

    Raises:
        ValueError: `labels` is not a map of whole numbers from 0.
    """
    label, sums = measure_runs(_label_map(labels))
    count = dict(zip(SUMS, sums, strict=True))
    box = np.stack(
        [count[side] for side in ("row_min", "column_min", "row_stop", "column_stop")], axis=1
    )
    area = count["area"]
    area_bbox = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    major, minor = _eigenvalues(
        count["row_variance"], count["column_variance"], count["covariance"]
    )
    features = np.stack(
        [
            area,
            area_bbox,
            count["area_convex"],
            np.sqrt(1.0 - np.divide(minor, major, out=np.ones_like(minor), where=major > 0)),
            np.sqrt(area * (4.0 / math.pi)),
            count["euler_number"],
            area / area_bbox,
            np.sqrt(count["feret_squared"]),
            count["area_filled"],
            major,
            minor,
            4.0 * np.sqrt(major),
            4.0 * np.sqrt(minor),
            _orientation(
                count["row_variance"], count["column_variance"], count["covariance_as_summed"]
            ),
            count["perimeter"],
            area / count["area_convex"],
        ]
    )
    centroid = np.stack([count["row_mean"], count["column_mean"]], axis=1)
    return NucleusMeasures(label, features, centroid, box.astype(np.int64))


def in_micrometres(table: pa.Table, mpp: float) -> pa.Table:
    """The table of `measure_nuclei` with lengths in um, areas and eigenvalues in um^2.

    The names of those columns carry the unit: `area_um2`, `perimeter_um`.

    Args:
        table: as `measure_nuclei` returns it.
        mpp: micrometres per pixel of the label map.

    Raises:
        ValueError: `mpp` is not a positive number.
    """
    if not (math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"mpp must be a positive number of micrometres per pixel, got {mpp}")
    columns = {"label": table["label"]}
    for name, power in LENGTH_POWER.items():
        values = table[name]
        columns[name + UNIT_SUFFIX[power]] = (
            pa.array(values.to_numpy() * mpp**power) if power else values
        )
    return pa.table(columns)


def feature_matrix(table: pa.Table) -> np.ndarray:
    """A table's features, in pixels or micrometres: float64 (n, 16), columns as FEATURES."""
    return np.stack([column.to_numpy() for column in table.drop_columns("label").columns], axis=1)


class NucleusShape:
    """The features of a nucleus as its vector; sizes are in micrometres, so slides can be compared.

    Sizes enter as log(1 + x): they are skewed, and after standardisation a few giant nuclei would
    otherwise rule the cosine.
    """

    spec = EncoderSpec(
        name="nucleus-shape",
        version="1",
        level="nucleus",
        dim=len(FEATURES),
        weights_sha256=hashlib.sha256(b"").hexdigest(),  # it has none
        preprocessing=canonical(
            {"features": FEATURES, "unit": "um", "log1p": [f for f in FEATURES if LENGTH_POWER[f]]}
        ),
        is_standardised=True,
        feature_names=FEATURES,
    )

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Vectors of nuclei.

        Args:
            batch: rows of `feature_matrix`, (n, 16), in micrometres (`in_micrometres`).

        Returns:
            float32 (n, 16), finite.

        Raises:
            ValueError: the rows have another number of features, or one that is not finite.
        """
        if len(batch) == 0:
            return np.empty((0, self.spec.dim), dtype=np.float32)
        rows = np.asarray(batch, dtype=np.float64).reshape(len(batch), -1)
        if rows.shape[1] != self.spec.dim:
            raise ValueError(f"expected {self.spec.dim} features a nucleus, got {rows.shape[1]}")
        if not np.isfinite(rows).all():
            raise ValueError("expected finite features, got NaN or infinity")
        is_size = np.array([power > 0 for power in LENGTH_POWER.values()])
        return np.where(is_size, np.log1p(rows * is_size), rows).astype(np.float32)


def _label_map(labels: np.ndarray) -> np.ndarray:
    """`labels`, C-ordered in a native integer type of at most 64 bits with sign."""
    if labels.ndim != 2:
        raise ValueError(f"labels must have shape (H, W), got {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.dtype == np.uint64:
        if labels.size and labels.max() > np.iinfo(np.int64).max:
            raise ValueError(f"labels must be at most {np.iinfo(np.int64).max}, got {labels.max()}")
        return np.ascontiguousarray(labels, dtype=np.int64)
    return np.ascontiguousarray(labels, dtype=labels.dtype.newbyteorder("="))


def _eigenvalues(
    row_variance: np.ndarray, column_variance: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Larger and smaller eigenvalue of each covariance matrix, in pixels^2, not negative."""
    middle = (row_variance + column_variance) / 2.0
    reach = np.hypot((row_variance - column_variance) / 2.0, covariance)
    return middle + reach, np.maximum(middle - reach, 0.0)


def _orientation(
    row_variance: np.ndarray, column_variance: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Angle of the major axis from the rows' axis, counter-clockwise, radians in [-pi/2, pi/2].

    Where both variances are equal it is pi/4 with the sign of the covariance, -pi/4 if that is 0.
    """
    angle = 0.5 * np.arctan2(2.0 * covariance, row_variance - column_variance)
    diagonal = np.where(covariance > 0, math.pi / 4, -math.pi / 4)
    return np.where(row_variance == column_variance, diagonal, angle)
