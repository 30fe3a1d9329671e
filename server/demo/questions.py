"""The demo's questions, all five kinds, asked of a server and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from datetime import time as time_of_day
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.query.answers import (
    Diagnosed,
    PatientTracks,
    Receipt,
    Scored,
    Similar,
    SimilarQuestion,
    Trained,
    TrainingQuestion,
)
from tumorbase.server.client import Client
from tumorbase.server.local import receipt_of
from tumorbase.server.overview import Overview

T = TypeVar("T")

MODEL = "demo-os"
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Asked:
    """One question as one would type it, how long its answer took, and the answer's receipt."""

    question: str
    seconds: float
    receipt: Receipt | None


@dataclass(frozen=True, eq=False)
class Answers:
    """All answers of the demo. `patient_id` is the patient whose case the page follows."""

    overview: Overview
    patient_id: str
    lesions: pa.Table
    patients: pa.Table
    nuclei: pa.Table
    query_lesion: str
    similar_lesions: Similar
    similar_patients: Similar
    tracks: tuple[PatientTracks, ...]
    trained: Trained
    scored: Scored
    diagnosed: Diagnosed
    as_of: datetime
    lesions_as_of: pa.Table
    patients_as_of: pa.Table
    asked: tuple[Asked, ...]


@dataclass
class _Interview:
    """A client, and what was asked of it so far."""

    client: Client
    asked: list[Asked]

    def ask(self, question: str, answer: Callable[[], T]) -> T:
        """The answer, its time and receipt noted."""
        started = time.perf_counter()
        answered = answer()
        seconds = time.perf_counter() - started
        self.asked.append(Asked(question, seconds, _receipt(answered)))
        return answered


def ask_all(client: Client, seed: int) -> Answers:
    """Ask everything of a server that holds the phantom cohort.

    The case that the page follows is the patient with most kinds of change among the tracks.
    """
    interview = _Interview(client, [])
    ask = interview.ask
    tracks = tuple(ask("track", client.track))
    patient_id = max(tracks, key=_eventfulness).patient_id
    lesions = ask("export --level lesion", lambda: client.export("lesion").read_all())
    query_lesion = _largest_lesion(lesions, patient_id)
    similar_lesions = ask(
        f"similar {query_lesion} --level lesion -k {_NEIGHBOURS}",
        lambda: client.similar(SimilarQuestion("lesion", query_lesion, limit=_NEIGHBOURS)),
    )
    similar_patients = ask(
        f"similar {patient_id} --level patient -k {_NEIGHBOURS}",
        lambda: client.similar(SimilarQuestion("patient", patient_id, limit=_NEIGHBOURS)),
    )
    trained = ask(
        f"train survival --endpoint OS --architecture cox --name {MODEL}",
        lambda: client.train_survival(TrainingQuestion("OS", "cox", MODEL, seed=seed)),
    )
    patients = ask("export --level patient", lambda: client.export("patient").read_all())
    everyone = patients["patient_id"].to_pylist()
    scored = ask(f"score (all) --model {MODEL}", lambda: client.score(MODEL, everyone))
    diagnosed = ask(f"diagnose {patient_id}", lambda: client.diagnose(patient_id))
    as_of = _end_of_second_study(lesions, patient_id)
    day = as_of.date().isoformat()
    return Answers(
        overview=client.status(),
        patient_id=patient_id,
        lesions=lesions,
        patients=patients,
        nuclei=ask("export --level nucleus", lambda: client.export("nucleus").read_all()),
        query_lesion=query_lesion,
        similar_lesions=similar_lesions,
        similar_patients=similar_patients,
        tracks=tracks,
        trained=trained,
        scored=scored,
        diagnosed=diagnosed,
        as_of=as_of,
        lesions_as_of=ask(
            f"export --level lesion --as-of {day}",
            lambda: client.export("lesion", as_of).read_all(),
        ),
        patients_as_of=ask(
            f"export --level patient --as-of {day}",
            lambda: client.export("patient", as_of).read_all(),
        ),
        asked=tuple(interview.asked),
    )


def _receipt(answer: object) -> Receipt | None:
    """The receipt of an answer, or of the first of several; an export's is in its schema."""
    if isinstance(answer, pa.Table):
        return receipt_of(answer.to_reader())
    if isinstance(answer, (list, tuple)) and answer:
        answer = answer[0]
    receipt = getattr(answer, "receipt", None)
    return receipt if isinstance(receipt, Receipt) else None


def _eventfulness(tracks: PatientTracks) -> tuple[int, int, int]:
    """How much there is to see: kinds of change and of end, studies, tracks."""
    kinds = {lesion.change for track in tracks.tracks for lesion in track.lesions}
    ends = {track.status for track in tracks.tracks}
    return len(kinds) + len(ends), len(tracks.sums), len(tracks.tracks)


def _largest_lesion(lesions: pa.Table, patient_id: str) -> str:
    mine = lesions.filter(pc.equal(lesions["patient_id"], patient_id))
    order = mine.sort_by([("event_time", "ascending"), ("volume_mm3", "descending")])
    return str(order["lesion_id"][0].as_py())


def _end_of_second_study(lesions: pa.Table, patient_id: str) -> datetime:
    mine = lesions.filter(pc.equal(lesions["patient_id"], patient_id))
    days: list[datetime] = sorted(pc.unique(mine["event_time"]).to_pylist())
    return datetime.combine(days[min(1, len(days) - 1)], time_of_day.max)
