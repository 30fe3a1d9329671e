"""What is true of a phantom cohort: its patients, lesions and nuclei, as they were planted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

NUCLEUS_TYPES = ("tumour", "lymphocyte", "stroma")


@dataclass(frozen=True)
class PatientTruth:
    """One phantom patient.

    `risk` is the latent log-hazard in standard deviations: the higher, the sooner the event. It
    shows in the growth and texture of lesions, in the mix of nuclei and in gene expression. `side`
    is where the primary lies, -1 the patient's right and +1 the left. `study_days` count from
    `baseline`, as does `time_days`, the time to death (`is_event`) or to the end of follow-up.
    """

    patient_id: str
    subtype: str  # lung, liver or kidney
    side: int
    risk: float
    sex: str
    age: int
    stage: str
    baseline: date
    study_days: tuple[int, ...]
    time_days: int
    is_event: bool
    icd10cm: tuple[str, ...]

    def study_id(self, index: int) -> str:
        """The id of the study at `study_days[index]`."""
        return f"{self.patient_id}-CT{index + 1}"


@dataclass(frozen=True)
class LesionTruth:
    """One connected component of one study's mask.

    The centroid is the mean of its voxel centres, LPS; `diameter_mm` the greatest distance of two
    voxel centres within one axial slice plus one pixel. `track_id` is the same while the lesion
    neither splits nor merges; what comes of that is a new track with the old ones as `parents`.
    """

    patient_id: str
    study_id: str
    track_id: str
    parents: tuple[str, ...]
    organ: str
    region: str  # primary (label.nii.gz) or node (node.nii.gz)
    x_mm: float
    y_mm: float
    z_mm: float
    diameter_mm: float
    volume_mm3: float


@dataclass(frozen=True, eq=False)
class SlideTruth:
    """The nuclei of one slide.

    `centroid_px` is float64 (n, 2), (x, y) in level-0 pixels, the centre of pixel (0, 0) at (0, 0);
    `type_index` int64 (n,) into NUCLEUS_TYPES; `outlines` n closed polygons int64 (k, 2), (x, y).
    """

    slide_id: str
    patient_id: str
    mpp: float
    has_pen_mark: bool
    centroid_px: np.ndarray
    area_px: np.ndarray
    type_index: np.ndarray
    outlines: tuple[np.ndarray, ...]

    def fraction(self, nucleus_type: str) -> float:
        """The share of one type among the slide's nuclei, in [0, 1]."""
        return float(np.mean(self.type_index == NUCLEUS_TYPES.index(nucleus_type)))


@dataclass(frozen=True)
class Truth:
    """All that was planted in one cohort."""

    seed: int
    patients: tuple[PatientTruth, ...]
    lesions: tuple[LesionTruth, ...]
    slides: tuple[SlideTruth, ...]

    def write(self, path: Path) -> None:
        """Write it as one JSON document, arrays as lists."""
        path.write_text(json.dumps(asdict(self), default=_plain), encoding="utf-8")


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return np.round(value, 2).tolist()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
