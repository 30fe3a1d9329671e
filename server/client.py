"""A client of a tumorbase server: every question as a method, answers as frozen values."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from tumorbase.query.answers import (
    Diagnosed,
    PatientTracks,
    Scored,
    Similar,
    SimilarQuestion,
    Trained,
    TrainingQuestion,
)
from tumorbase.server.config import MAX_MESSAGE_BYTES
from tumorbase.server.security import read_secret
from tumorbase.server.status import error_of
from tumorbase.server.wire import to_message, to_value
from tumorbase.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    diagnosis_pb2,
    diagnosis_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
    survival_pb2,
    survival_pb2_grpc,
    tracking_pb2,
    tracking_pb2_grpc,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress
    from tumorbase.server.overview import EncoderOverview, Overview
    from tumorbase.store.check import CheckReport

T = TypeVar("T")

_OPTIONS = [
    ("grpc.enable_http_proxy", 0),  # a proxy for the web does not lead to a store
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


@dataclass(frozen=True)
class ClientTls:
    """PEM files for TLS: the authority that signed the server's certificate (None: the system's),
    and the client's own certificate and key where the server asks for them.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Client:
    """Asks the server at `address`, HOST:PORT; clear text unless `tls` is given.

    `token` is what the server's token file holds, `timeout_seconds` what each call may take. Every
    method raises the errors that `LocalClient` raises, and `Unavailable` where the server is not
    reached in time. A `commit` of 0 is the newest.
    """

    def __init__(
        self,
        address: str,
        token: str = "",
        tls: ClientTls | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel = _channel(address, tls)
        self._retrieval = retrieval_pb2_grpc.RetrievalStub(self._channel)
        self._tracking = tracking_pb2_grpc.TrackingStub(self._channel)
        self._survival = survival_pb2_grpc.SurvivalStub(self._channel)
        self._diagnosis = diagnosis_pb2_grpc.DiagnosisStub(self._channel)
        self._features = features_pb2_grpc.FeaturesStub(self._channel)
        self._ingest = ingest_pb2_grpc.IngestStub(self._channel)
        self._admin = admin_pb2_grpc.AdminStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def similar(self, question: SimilarQuestion) -> Similar:
        """The neighbours of what the question names, nearest first."""
        request = to_message(question, retrieval_pb2.FindSimilarRequest)
        return to_value(self._call(self._retrieval.FindSimilar, request), Similar)

    def track(self, patient_ids: Sequence[str] = (), commit: int = 0) -> list[PatientTracks]:
        """Lesions over studies and RECIST 1.1 sums of these patients; of none given, of all."""
        request = tracking_pb2.TrackLesionsRequest(patient_ids=patient_ids, commit=commit)
        answers = self._stream(self._tracking.TrackLesions, request)
        return [to_value(answer, PatientTracks) for answer in answers]

    def train_survival(self, question: TrainingQuestion) -> Trained:
        """A survival model, trained and kept in the store, with its C-index over the folds."""
        request = to_message(question, survival_pb2.TrainRequest)
        return to_value(self._call(self._survival.Train, request), Trained)

    def score(self, model: str, patient_ids: Sequence[str], commit: int = 0) -> Scored:
        """The patients' risks by a trained model."""
        request = survival_pb2.ScoreRequest(model=model, patient_ids=patient_ids, commit=commit)
        parts = [to_value(part, Scored) for part in self._stream(self._survival.Score, request)]
        return replace(parts[0], scores=tuple(score for part in parts for score in part.scores))

    def diagnose(self, patient_id: str, commit: int = 0, encoder: str = "") -> Diagnosed:
        """What a patient may have, most probable first: codes of the most similar patients, or what
        the network `encoder` says of the scans.
        """
        request = diagnosis_pb2.DiagnoseRequest(
            patient_id=patient_id, commit=commit, encoder=encoder
        )
        return to_value(self._call(self._diagnosis.Diagnose, request), Diagnosed)

    def export(
        self, level: str, as_of: datetime | None = None, commit: int = 0, encoder: str = ""
    ) -> pa.RecordBatchReader:
        """The rows of a level, read from the server as they are asked for.

        With `as_of` (UTC), only what had happened and was known then. Their vectors are those of
        `encoder`, or of the level's preferred one.
        """
        from tumorbase.server.arrow_pieces import joined

        time = as_of.isoformat() if as_of else ""
        request = features_pb2.ExportRequest(
            level=level, as_of=time, commit=commit, encoder=encoder
        )
        answers = self._stream(self._features.Export, request)
        return joined(answer.arrow_ipc_piece for answer in answers if answer.arrow_ipc_piece)

    def ingest(
        self,
        paths: Sequence[Path],
        options: IngestOptions,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> IngestSummary:
        """What became of files and folders on the server's machine, as it sees them."""
        from tumorbase.ingest.pipeline import IngestSummary, Progress

        request = ingest_pb2.RunRequest(
            paths=[str(path) for path in paths],
            options=to_message(options, ingest_pb2.IngestOptions),
        )
        for part in self._stream(self._ingest.Run, request):
            if part.HasField("progress"):
                progress(to_value(part.progress, Progress))
        return to_value(part.summary, IngestSummary)

    def status(self) -> Overview:
        """What the store holds at its newest commit."""
        from tumorbase.server.overview import Overview

        return to_value(self._call(self._admin.Status, admin_pb2.StatusRequest()), Overview)

    def check(self, repair: bool = False) -> CheckReport:
        """What is wrong with the store; with `repair`, put right as far as it can be."""
        from tumorbase.store.check import CheckReport

        request = admin_pb2.CheckRequest(repair=repair)
        return to_value(self._call(self._admin.Check, request), CheckReport)

    def snapshot(self, name: str) -> int:
        """The newest commit, which now has this name."""
        request = admin_pb2.CreateSnapshotRequest(name=name)
        return self._call(self._admin.CreateSnapshot, request).commit

    def snapshots(self) -> dict[str, int]:
        """Name to commit, in the order they were made."""
        answer = self._call(self._admin.ListSnapshots, admin_pb2.ListSnapshotsRequest())
        return {snapshot.name: snapshot.commit for snapshot in answer.snapshots}

    def encoders(self) -> tuple[EncoderOverview, ...]:
        """The encoders of the store's vectors and those installed where the server runs."""
        from tumorbase.server.overview import EncoderOverview

        answer = self._call(self._admin.ListEncoders, admin_pb2.ListEncodersRequest())
        return tuple(to_value(encoder, EncoderOverview) for encoder in answer.encoders)

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, metadata=self._metadata, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise error_of(error, self._address) from error

    def _stream(self, method: Callable[..., Any], request: Any) -> Generator[Any]:
        call: Any = method(request, metadata=self._metadata, timeout=self._timeout_seconds)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_of(error, self._address) from error
        finally:
            call.cancel()  # where the caller stopped asking; after the end it does nothing


def _channel(address: str, tls: ClientTls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, _OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        tls.ca and read_secret(tls.ca, "TLS authority"),
        tls.key and read_secret(tls.key, "TLS key"),
        tls.cert and read_secret(tls.cert, "TLS certificate"),
    )
    return grpc.secure_channel(address, credentials, _OPTIONS)
