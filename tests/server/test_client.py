"""The client's answers are those of the open store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from tumorbase.ingest.pipeline import IngestOptions, Progress
from tumorbase.query.answers import SimilarQuestion, TrainingQuestion
from tumorbase.server.arrow_pieces import joined, pieces
from tumorbase.server.client import Client
from tumorbase.server.config import PIECE_BYTES
from tumorbase.server.local import LocalClient, receipt_of
from tumorbase.store.errors import InvalidRequest, NotFound, StoreDamaged

Serve = Callable[..., AbstractContextManager[str]]

QUESTIONS = {
    "similar by id": lambda c: c.similar(SimilarQuestion("lesion", "P03-0-1")),
    "similar by vector": lambda c: c.similar(
        SimilarQuestion("lesion", vector=tuple(map(float, range(9))), limit=3)
    ),
    "similar where": lambda c: c.similar(
        SimilarQuestion("lesion", "P03-0-1", where="long_axis_mm > 20", same_patient=True)
    ),
    "similar patients": lambda c: c.similar(SimilarQuestion("patient", "P03")),
    "similar then": lambda c: c.similar(SimilarQuestion("lesion", "P03-0-1", commit=4)),
    "track": lambda c: c.track(["P05", "P01"]),
    "track all": lambda c: c.track(),
    "diagnose": lambda c: c.diagnose("P03"),
    "status": lambda c: c.status(),
    "check": lambda c: c.check(),
    "snapshots": lambda c: c.snapshots(),
    "encoders": lambda c: c.encoders(),
    "export": lambda c: c.export("lesion").read_all(),
    "export as of": lambda c: c.export("lesion", datetime(2020, 6, 1)).read_all(),
    "export of an encoder": lambda c: c.export("lesion", encoder="measurement").read_all(),
    "export patients": lambda c: c.export("patient").read_all(),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_served_answers_equal_local_ones(
    ask: Callable[[object], object], local: LocalClient, address: str
) -> None:
    expected = ask(local)
    assert expected or expected == {}
    with Client(address) as client:
        assert ask(client) == expected


def test_a_model_trained_through_the_server_scores_alike(local: LocalClient, address: str) -> None:
    with Client(address) as client:
        trained = client.train_survival(TrainingQuestion("OS", "cox", "by-size"))
        patients = [f"P{number:02}" for number in (7, 3, 30)]
        served = client.score("by-size", patients)
    assert trained.events > 0
    assert served == local.score("by-size", patients)
    assert [score.patient_id for score in served.scores] == patients


def test_scores_of_many_patients_come_in_parts_and_are_one_answer(
    local: LocalClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.train_survival(TrainingQuestion("OS", "cox", "m"))
    patients = [f"P{number:02}" for number in range(40)]
    monkeypatch.setattr("tumorbase.server.survival._SCORES_A_MESSAGE", 7)
    with Client(address) as client:
        assert client.score("m", patients) == local.score("m", patients)


def test_ingest_through_the_server_tells_its_progress(address: str, cohort: Path) -> None:
    told: list[Progress] = []
    with Client(address) as client:
        summary = client.ingest([cohort], IngestOptions(workers=1), told.append)
    assert summary.unchanged == len(told) > 0
    assert {progress.state for progress in told} == {"unchanged"}
    assert [progress.done for progress in told] == list(range(1, len(told) + 1))


def test_a_snapshot_taken_through_the_server_is_there(local: LocalClient, address: str) -> None:
    with Client(address) as client:
        commit = client.snapshot("first")
        with pytest.raises(InvalidRequest, match="first"):
            client.snapshot("first")
    assert local.snapshots() == {"first": commit}


def test_unknown_things_are_not_found(address: str) -> None:
    with Client(address) as client:
        with pytest.raises(NotFound) as caught:
            client.similar(SimilarQuestion("lesion", "nobody"))
        assert (caught.value.kind, caught.value.identifier) == ("lesion", "nobody")
        with pytest.raises(NotFound):
            client.score("no-model", ["P00"])
        with pytest.raises(InvalidRequest):
            client.export("galaxy")


@pytest.mark.parametrize("limit", [0, -1, 10_000])
def test_a_limit_out_of_range_is_refused(address: str, limit: int) -> None:
    with Client(address) as client, pytest.raises(InvalidRequest, match=str(limit)):
        client.similar(SimilarQuestion("lesion", "P03-0-1", limit=limit))


@pytest.mark.parametrize("where", ["1 = ", "1=1; DROP TABLE lesion", "no_such_column = 1"])
def test_a_malformed_filter_is_refused_and_runs_nothing(address: str, where: str) -> None:
    with Client(address) as client:
        before = client.status().counts
        with pytest.raises(InvalidRequest):
            client.similar(SimilarQuestion("lesion", "P03-0-1", where=where))
        assert client.status().counts == before


def test_an_export_carries_its_receipt(local: LocalClient, address: str) -> None:
    with Client(address) as client:
        receipt = receipt_of(client.export("lesion", datetime(2020, 6, 1)))
    assert receipt.commit == local.status().commit
    assert receipt.notes == ("as of 2020-06-01T00:00:00",)


def test_large_batches_travel_in_small_pieces() -> None:
    table = pa.table({"vector": pa.array([[float(i)] * 512 for i in range(3000)])})
    sent = list(pieces(table.to_reader()))
    assert len(sent) > 8
    assert max(map(len, sent)) < PIECE_BYTES + 65_536
    assert joined(iter(sent)).read_all() == table


def test_an_error_inside_an_export_reaches_the_reader(local: LocalClient, serve: Serve) -> None:
    class Breaking(LocalClient):
        def __init__(self) -> None:
            pass

        def export(
            self, level: str, as_of: datetime | None = None, commit: int = 0, encoder: str = ""
        ) -> pa.RecordBatchReader:
            whole = local.export(level)
            first = whole.read_next_batch()

            def batches() -> Iterator[pa.RecordBatch]:
                yield first
                raise StoreDamaged("the disk is gone")

            return pa.RecordBatchReader.from_batches(whole.schema, batches())

    with serve(Breaking()) as address, Client(address) as client:
        reader = client.export("lesion")
        assert reader.read_next_batch().num_rows > 0
        with pytest.raises(StoreDamaged, match="the disk is gone"):
            reader.read_next_batch()
