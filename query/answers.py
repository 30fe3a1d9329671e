"""What is asked and what is answered: frozen values that server, client and CLI carry."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Receipt:
    """How an answer came about, enough to get it again.

    `commit` is the store's state that was read; `encoder` and `weights_sha256` are empty where no
    vector took part; `is_exact` tells an exhaustive search from one through an index; `where` is
    the filter; `rows_searched` counts the candidates left by it; `notes` say what a reader must
    know, such as the leave-one-out hit rate of a diagnosis.
    """

    commit: int
    encoder: str = ""
    weights_sha256: str = ""
    is_exact: bool = True
    where: str = ""
    rows_searched: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SimilarQuestion:
    """Exactly one of `id`, `vector` and `text` is given; an image comes here as its vector.

    Standardised encoders take `vector` in their raw units. `where` is a predicate over the level's
    columns; `same_patient` lets the query's own patient into the answer.
    """

    level: str
    id: str = ""
    vector: tuple[float, ...] = ()
    text: str = ""
    limit: int = 10
    encoder: str = ""  # name or encoder_id; empty: the level's default
    where: str = ""
    same_patient: bool = False
    exact: bool = False
    commit: int = 0  # 0: the newest


@dataclass(frozen=True)
class Contribution:
    """One modality's part in a patient distance. The weights of all parts sum to 1."""

    modality: str
    distance: float
    weight: float


@dataclass(frozen=True)
class Hit:
    """One neighbour: its cosine distance, in [0, 2], and its level's columns as `details`."""

    id: str
    patient_id: str
    distance: float
    details: dict[str, str | float | int] = field(default_factory=dict)
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class Similar:
    """Neighbours, nearest first."""

    level: str
    encoder: str
    is_exact: bool
    hits: tuple[Hit, ...]
    receipt: Receipt


@dataclass(frozen=True)
class TrackLesion:
    """One lesion of a track in one study. `change` is new, matched, split or merged."""

    lesion_id: str
    study_id: str
    change: str
    long_axis_mm: float
    short_axis_mm: float
    is_target: bool


@dataclass(frozen=True)
class Track:
    """One lesion followed over several studies; `status` is present, resolved, split or merged."""

    track_id: str
    status: str
    region: str
    lesions: tuple[TrackLesion, ...]
    parents: tuple[str, ...] = ()  # tracks this one split off from or was merged of


@dataclass(frozen=True)
class StudySum:
    """RECIST 1.1 at one study: the sum of target diameters and the response.

    That is "baseline", CR, PR, SD, PD or NE; without target lesions "non-CR/non-PD" in place of PR
    and SD. `sum_mm` is NaN where a target was not measured; `nadir_mm` is the smallest sum before
    this study, at baseline the sum itself; `new_lesions` count those first seen in this study.
    """

    study_id: str
    study_date: str  # ISO, empty if unknown
    sum_mm: float
    response: str
    nadir_mm: float
    new_lesions: int


@dataclass(frozen=True)
class PatientTracks:
    """All tracks of one patient, and the sums in the order of the studies."""

    patient_id: str
    tracks: tuple[Track, ...]
    sums: tuple[StudySum, ...]
    receipt: Receipt


@dataclass(frozen=True)
class CIndex:
    """Harrell's concordance index over validation folds."""

    mean: float
    sd: float
    folds: tuple[float, ...]


@dataclass(frozen=True)
class TrainingQuestion:
    """What to train. `folds` are (train ids, validation ids); empty: five stratified by event."""

    endpoint: str
    architecture: str
    name: str
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A survival model that now lies in the store under `model`."""

    model: str
    architecture: str
    endpoint: str
    patients: int
    events: int
    features: int
    c_index: CIndex
    seconds: float
    receipt: Receipt


@dataclass(frozen=True)
class SurvivalCurve:
    """Probability of being free of the event at each time."""

    time_days: tuple[float, ...]
    probability: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """One patient's risk, the higher, the sooner the event, and its percentile in training."""

    patient_id: str
    risk: float
    percentile: float
    survival: SurvivalCurve
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """Scores of one model, in the order of the patients asked for."""

    model: str
    scores: tuple[Score, ...]
    receipt: Receipt


@dataclass(frozen=True)
class DiagnosisCandidate:
    """One ICD-10-CM code; `name` is its category's title where known, else empty.

    Of a disorder that a network knows by name alone, it is the name without a code.
    """

    icd10cm: str
    name: str
    probability: float
    supporting_patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosed:
    """Candidates, most probable first."""

    patient_id: str
    diagnoses: tuple[DiagnosisCandidate, ...]
    receipt: Receipt
