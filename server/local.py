"""Every question answered from an open store: what the command line and the servicers both ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

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
from tumorbase.server.overview import EncoderOverview, Overview, all_encoders, store_overview
from tumorbase.store.store import Store
from tumorbase.store.view import View

# The questions' own modules are imported when first asked: some of them take seconds.
if TYPE_CHECKING:
    from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress
    from tumorbase.store.check import CheckReport

_PATIENTS = "SELECT patient_id FROM patient ORDER BY patient_id"
_PATIENTS_A_STEP = 64
_RECEIPT = b"tumorbase.receipt"  # key in the metadata of an exported schema


class LocalClient:
    """Answers from a store that this process owns; the methods and answers of `client.Client`.

    A `commit` of 0 is the newest.
    """

    def __init__(self, store: Store, weights: Path | None = None) -> None:
        """Of an open store; `weights` is the folder with those of the networks that embed texts or
        diagnose, which are looked for in $TUMORBASE_WEIGHTS and the hub's cache too.
        """
        self._store = store
        self._weights = weights

    @classmethod
    def open(cls, path: Path, weights: Path | None = None) -> LocalClient:
        """A client that owns the store at `path`, and closes it.

        Raises:
            NotFound, StoreBusy, StoreVersion, StoreDamaged: as `Store.open`.
        """
        return cls(Store.open(path), weights)

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def similar(self, question: SimilarQuestion) -> Similar:
        """The neighbours of what the question names, nearest first.

        Raises:
            InvalidRequest: the question is not a sound one.
            NotFound: its id, encoder or commit is not in the store.
            MissingWeights: those that embed its text are not found.
        """
        from tumorbase.query.similar import similar

        return similar(self._view(question.commit), question, self._weights)

    def track(self, patient_ids: Sequence[str] = (), commit: int = 0) -> list[PatientTracks]:
        """Lesions over studies and RECIST 1.1 sums of these patients; of none given, of all.

        Raises:
            NotFound: the store has no such patient.
        """
        return list(self.track_each(patient_ids, commit))

    def track_each(
        self, patient_ids: Sequence[str] = (), commit: int = 0
    ) -> Generator[PatientTracks]:
        """As `track`, one patient after the other."""
        from tumorbase.query.tracking import track_patients

        view = self._view(commit)
        wanted = list(patient_ids) or view.sql(_PATIENTS)["patient_id"].to_pylist()
        for start in range(0, len(wanted), _PATIENTS_A_STEP):
            yield from track_patients(view, wanted[start : start + _PATIENTS_A_STEP])

    def train_survival(
        self, question: TrainingQuestion, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Trained:
        """A survival model, trained and kept in the store, with its C-index over the folds.

        Asked before each patient of a network's training, and while it waits for another one,
        `is_cancelled` ends it with nothing kept.

        Raises:
            InvalidRequest: an unknown architecture or endpoint, or unsound folds.
            NotEnoughData: too few patients or events.
        """
        from tumorbase.query.survival import train_survival

        return train_survival(self._store, question, is_cancelled)

    def score(self, model: str, patient_ids: Sequence[str], commit: int = 0) -> Scored:
        """The patients' risks by a trained model.

        Raises:
            NotFound: the store has no such model or patient.
        """
        from tumorbase.query.survival import score_patients

        return score_patients(self._view(commit), model, list(patient_ids))

    def diagnose(self, patient_id: str, commit: int = 0, encoder: str = "") -> Diagnosed:
        """What a patient may have, most probable first: codes of the most similar patients, or what
        the network `encoder` says of the scans.

        Raises:
            NotFound: the store has no such patient, or no vector of a case of theirs.
            InvalidRequest: this encoder does not diagnose.
            MissingWeights: those of the network, or the names of its classes, are not found.
        """
        if encoder:
            from tumorbase.query.network_diagnosis import diagnose_by_network

            return diagnose_by_network(self._view(commit), patient_id, encoder, self._weights)
        from tumorbase.query.diagnosis import diagnose

        return diagnose(self._view(commit), patient_id)

    def export(
        self, level: str, as_of: datetime | None = None, commit: int = 0, encoder: str = ""
    ) -> pa.RecordBatchReader:
        """The rows of a level; with `as_of` (UTC), only what had happened and was known then.

        Their vectors are those of `encoder`, or of the level's preferred one.

        The schema's metadata carries the receipt, so that an exported file tells where it is from.

        Raises:
            InvalidRequest: there is no such level, or the encoder is of another one.
            NotFound: the store has no such encoder.
        """
        from tumorbase.query.export import export_level

        view = self._view(commit)
        reader = export_level(view, level, as_of, encoder)
        notes = (f"as of {as_of.isoformat()}",) if as_of else ()
        receipt = json.dumps(asdict(Receipt(view.commit_id, notes=notes)))
        schema = reader.schema.with_metadata({_RECEIPT: receipt})
        return pa.RecordBatchReader.from_batches(
            schema, (batch.replace_schema_metadata(schema.metadata) for batch in reader)
        )

    def ingest(
        self,
        paths: Sequence[Path],
        options: IngestOptions,
        progress: Callable[[Progress], None] = lambda _: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        """What became of the files and folders, each item committed whole or quarantined.

        Asked after each item, `is_cancelled` ends the run early.

        Raises:
            InvalidRequest: a path does not exist, or no source fits it.
            StoreNotWritable: the disk is full or read-only.
        """
        from tumorbase.ingest.pipeline import ingest

        return ingest(self._store, paths, options, progress, is_cancelled)

    def status(self) -> Overview:
        """What the store holds at its newest commit."""
        return store_overview(self._store)

    def check(self, repair: bool = False) -> CheckReport:
        """What is wrong with the store; with `repair`, put right as far as it can be."""
        return self._store.check(repair)

    def snapshot(self, name: str) -> int:
        """The newest commit, which now has this name.

        Raises:
            InvalidRequest: the name is empty or taken.
        """
        return self._store.snapshot(name)

    def snapshots(self) -> dict[str, int]:
        """Name to commit, in the order they were made."""
        return self._store.snapshots()

    def encoders(self) -> tuple[EncoderOverview, ...]:
        """The encoders of the store's vectors and those installed."""
        return all_encoders(self._store)

    def _view(self, commit: int) -> View:
        return self._store.view(commit or None)


def receipt_of(reader: pa.RecordBatchReader) -> Receipt:
    """The receipt that an export carries in its schema's metadata."""
    fields = json.loads(reader.schema.metadata[_RECEIPT])
    return Receipt(**{**fields, "notes": tuple(fields["notes"])})
