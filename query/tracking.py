"""Is this the lesion we measured last time? Lesions followed over a patient's studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.models.lesion_assignment import StudyLesions, assign_lesions, match_placed
from tumorbase.query.answers import PatientTracks, Receipt, Track, TrackLesion
from tumorbase.query.study_lesions import MEASUREMENT, Lesion, region_of, study_lesions
from tumorbase.query.track_response import Followed, response_sums, target_roots
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import NotFound
from tumorbase.store.view import View

_NOTE = "a lesion that a study does not list counts as gone there, one that it lists first as new"

_PATIENTS = "SELECT patient_id FROM patient"


def track_patients(view: View, patient_ids: Sequence[str] = ()) -> list[PatientTracks]:
    """Tracks and RECIST 1.1 sums of these patients in their order; of none given, of all with any.

    Studies are taken by date, then by id; of several series of one study, one counts, and what is
    both drawn and measured by hand is one lesion of the measured axes (`study_lesions`). Lesions of
    consecutive studies are assigned to each other (`assign_lesions`); one that vanished gets its
    track back if it reappears at its place. What splits or merges ends its tracks and begins new
    ones, with the old ones as parents. A long axis of 0 means absent.

    Raises:
        NotFound: the store has no such patient.
    """
    known = set(view.sql(_PATIENTS)["patient_id"].to_pylist())
    for patient_id in patient_ids:
        if patient_id not in known:
            raise NotFound("patient", patient_id)
    lesions = study_lesions(view)
    if patient_ids:
        lesions = lesions.filter(
            pc.is_in(lesions["patient_id"], pa.array(patient_ids, pa.string()))
        )
    embeddings = _Embeddings.of(view)
    by_patient = {
        patient_id: list(rows)
        for patient_id, rows in groupby(lesions.to_pylist(), key=lambda row: row["patient_id"])
    }
    return [
        _track_patient(patient_id, by_patient.get(patient_id, []), embeddings, view.commit_id)
        for patient_id in patient_ids or by_patient
    ]


@dataclass(frozen=True)
class _Embeddings:
    """Vectors by lesion, of the encoder that has most of them."""

    encoder: StoredEncoder | None
    matrix: np.ndarray
    row_of: dict[str, int]

    @classmethod
    def of(cls, view: View) -> _Embeddings:
        # Place and size of measured lesions are compared as such, not as a vector.
        encoders = [e for e in view.encoders("lesion") if e.name != MEASUREMENT]
        if not encoders:
            return cls(None, np.empty((0, 1)), {})
        encoder = max(encoders, key=lambda e: (view.vector_rows(e), e.encoder_id))
        vectors = view.vectors(encoder)
        ids = vectors.rows["lesion_id"].to_pylist()
        return cls(encoder, vectors.matrix, {lesion_id: row for row, lesion_id in enumerate(ids)})

    def vector(self, lesion: Lesion) -> np.ndarray:
        """The lesion's vector of unit length, NaN if it has none."""
        row = self.row_of.get(lesion["vector_id"])
        return np.full(self.matrix.shape[1], np.nan) if row is None else self.matrix[row]

    def receipt(self, commit: int) -> Receipt:
        if self.encoder is None:
            return Receipt(commit, notes=(_NOTE,))
        encoder = self.encoder
        return Receipt(commit, encoder.encoder_id, encoder.weights_sha256, notes=(_NOTE,))


@dataclass
class _OpenTrack:
    """A track while the studies are walked through.

    `position_mm` is where it would now lie, moved along with the patient. `roots` are the tracks
    that it comes from, through all splits and merges; its own id if it was new.
    """

    track_id: str
    roots: frozenset[str]
    parents: tuple[str, ...]
    position_mm: np.ndarray
    status: str = "present"
    lesions: list[tuple[int, Lesion, str]] = field(default_factory=list)  # study, row, change

    @property
    def last(self) -> Lesion:
        return self.lesions[-1][1]


class _Walk:
    """Tracks of one patient, study after study."""

    def __init__(self, patient_id: str, embeddings: _Embeddings) -> None:
        self.tracks: list[_OpenTrack] = []
        self._patient_id = patient_id
        self._embeddings = embeddings

    def visit(self, study: int, lesions: list[Lesion]) -> None:
        """Go on to the next study, with these lesions."""
        present = [track for track in self.tracks if track.status == "present"]
        away = [track for track in self.tracks if track.status == "resolved"]
        later = self._described(lesions, [_position(lesion) for lesion in lesions])
        found = assign_lesions(self._last_seen(present), later)
        for track in self.tracks:
            track.position_mm = track.position_mm + found.shift_mm
        for track in present:
            track.status = "resolved"  # unless found below
        for row, column in found.matches:
            self._go_on(present[row], study, lesions[column])
        for row, columns in found.splits:
            present[row].status = "split"
            for column in columns:
                self._begin(study, lesions[column], "split", [present[row]])
        for rows, column in found.merges:
            for row in rows:
                present[row].status = "merged"
            self._begin(study, lesions[column], "merged", [present[row] for row in rows])
        taken = {lesion["lesion_id"] for lesion in self._seen_in(study)}
        self._take_in(study, [each for each in lesions if each["lesion_id"] not in taken], away)

    def _take_in(self, study: int, lesions: list[Lesion], away: list[_OpenTrack]) -> None:
        """Give lesions that were not there last time their old track, or a new one."""
        later = self._described(lesions, [_position(lesion) for lesion in lesions])
        back = {column: row for row, column in match_placed(self._last_seen(away), later)}
        for column, lesion in enumerate(lesions):
            if column in back:
                self._go_on(away[back[column]], study, lesion)
            else:
                self._begin(study, lesion, "new", [])

    def _go_on(self, track: _OpenTrack, study: int, lesion: Lesion) -> None:
        track.status = "present"
        track.position_mm = _position(lesion)
        track.lesions.append((study, lesion, "matched"))

    def _begin(self, study: int, lesion: Lesion, change: str, parents: list[_OpenTrack]) -> None:
        track_id = f"{self._patient_id}/track-{len(self.tracks) + 1:03d}"
        roots = frozenset[str]().union(*(parent.roots for parent in parents))
        track = _OpenTrack(
            track_id,
            roots or frozenset({track_id}),
            tuple(parent.track_id for parent in parents),
            _position(lesion),
        )
        track.lesions.append((study, lesion, change))
        self.tracks.append(track)

    def _seen_in(self, study: int) -> list[Lesion]:
        return [track.last for track in self.tracks if track.lesions[-1][0] == study]

    def _last_seen(self, tracks: list[_OpenTrack]) -> StudyLesions:
        return self._described(
            [track.last for track in tracks], [track.position_mm for track in tracks]
        )

    def _described(self, lesions: list[Lesion], positions_mm: list[np.ndarray]) -> StudyLesions:
        dim = self._embeddings.matrix.shape[1]
        return StudyLesions(
            np.array(positions_mm, dtype=float).reshape(-1, 3),
            np.array([_number(lesion["long_axis_mm"]) for lesion in lesions], dtype=float),
            np.array([self._embeddings.vector(each) for each in lesions]).reshape(-1, dim),
            tuple(region_of(lesion) for lesion in lesions),
        )


def _track_patient(
    patient_id: str, lesions: list[Lesion], embeddings: _Embeddings, commit: int
) -> PatientTracks:
    studies = [list(rows) for _, rows in groupby(lesions, key=lambda row: row["study_number"])]
    walk = _Walk(patient_id, embeddings)
    for study, rows in enumerate(studies):
        walk.visit(study, [row for row in rows if row["long_axis_mm"] != 0])
    followed = [
        Followed(track.roots, study, row, change)
        for track in walk.tracks
        for study, row, change in track.lesions
    ]
    targets = target_roots(followed)
    return PatientTracks(
        patient_id,
        tuple(_track(track, targets) for track in walk.tracks),
        response_sums([rows[0] for rows in studies], followed, targets),
        embeddings.receipt(commit),
    )


def _track(track: _OpenTrack, targets: frozenset[str]) -> Track:
    lesions = tuple(
        TrackLesion(
            lesion_id=lesion["lesion_id"],
            study_id=lesion["study_id"],
            change=change,
            long_axis_mm=_number(lesion["long_axis_mm"]),
            short_axis_mm=_number(lesion["short_axis_mm"]),
            is_target=bool(track.roots & targets),
        )
        for _, lesion, change in track.lesions
    )
    region = region_of(track.lesions[0][1])
    return Track(track.track_id, track.status, region, lesions, track.parents)


def _position(lesion: Lesion) -> np.ndarray:
    return np.array([_number(lesion[name]) for name in ("x_mm", "y_mm", "z_mm")])


def _number(value: float | None) -> float:
    return np.nan if value is None else value
