"""The lesion encoder for lesions of which only position and RECIST axes are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tumorbase.models.encoders import EncoderSpec, canonical
from tumorbase.models.lesion_crop import LesionMeasure

# Stands in for a long axis that is not known: the least that RECIST 1.1 calls measurable.
NEUTRAL_LONG_AXIS_MM = 10.0
# Of a lesion with one axis, the other follows from the median of DeepLesion's 14,077 training and
# validation lesions.
NEUTRAL_AXIS_RATIO = 0.75
NEUTRAL_POSITION_MM = 0.0

FEATURE_NAMES = (
    "x_mm",
    "y_mm",
    "z_mm",
    "log_long_axis_mm",
    "log_short_axis_mm",
    "axis_ratio",
    "is_position_unknown",
    "is_long_axis_unknown",
    "is_short_axis_unknown",
)


class LesionMeasurement:
    """Position, RECIST axes and what of them is unknown; raw measurements."""

    takes = LesionMeasure

    def __init__(self) -> None:
        preprocessing = {
            "neutral_position_mm": NEUTRAL_POSITION_MM,
            "neutral_long_axis_mm": NEUTRAL_LONG_AXIS_MM,
            "neutral_axis_ratio": NEUTRAL_AXIS_RATIO,
            "features": FEATURE_NAMES,
        }
        self.spec = EncoderSpec(
            name="measurement",
            version="1",
            level="lesion",
            dim=len(FEATURE_NAMES),
            weights_sha256=hashlib.sha256(b"").hexdigest(),  # it has none
            preprocessing=canonical(preprocessing),
            is_standardised=True,
            feature_names=FEATURE_NAMES,
        )

    def encode(self, batch: Sequence[LesionMeasure]) -> np.ndarray:
        """Vectors of lesions, float32 (len(batch), 9), finite, each independent of the others.

        Raises:
            ValueError: an axis is not positive, or a number is infinite.
        """
        rows = [(m.x_mm, m.y_mm, m.z_mm, m.long_axis_mm, m.short_axis_mm) for m in batch]
        table = np.array(rows, dtype=np.float64).reshape(-1, 5)
        return self.encode_arrays(table[:, :3], table[:, 3], table[:, 4])

    def encode_arrays(
        self, position_mm: np.ndarray, long_axis_mm: np.ndarray, short_axis_mm: np.ndarray
    ) -> np.ndarray:
        """Vectors of lesions given as columns, float32 (lesions, 9), in the order of `spec`.

        A coordinate that is not known becomes 0. A long axis that is not known follows from the
        short one by the neutral ratio, a short one from the long one; where neither is known the
        long axis is 10 mm. The flags, 1 for unknown, tell such lesions from others.

        Args:
            position_mm: (lesions, 3) as (x, y, z); NaN where not known.
            long_axis_mm: (lesions,), NaN where not known.
            short_axis_mm: (lesions,), NaN where not known.

        Raises:
            ValueError: an axis is not positive, or a number is infinite.
        """
        columns = np.column_stack([position_mm, long_axis_mm, short_axis_mm]).astype(np.float64)
        if np.isinf(columns).any():
            raise ValueError("expected finite measurements or NaN, got infinity")
        if (columns[:, 3:] <= 0).any():
            raise ValueError(f"expected axes above 0 mm, got {np.nanmin(columns[:, 3:])}")
        position, given_long, given_short = columns[:, :3], columns[:, 3], columns[:, 4]
        is_unplaced = np.isnan(position)
        no_long, no_short = np.isnan(given_long), np.isnan(given_short)
        long_axis = np.where(no_long, given_short / NEUTRAL_AXIS_RATIO, given_long)
        long_axis = np.where(no_long & no_short, NEUTRAL_LONG_AXIS_MM, long_axis)
        short_axis = np.where(no_short, long_axis * NEUTRAL_AXIS_RATIO, given_short)
        vectors = np.column_stack(
            [
                np.where(is_unplaced, NEUTRAL_POSITION_MM, position),
                np.log(long_axis),
                np.log(short_axis),
                short_axis / long_axis,
                is_unplaced.any(axis=1),
                no_long,
                no_short,
            ]
        )
        return vectors.astype(np.float32)
