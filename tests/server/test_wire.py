"""Answers go over the wire and come back equal."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from google.protobuf.message import Message

from tumorbase.ingest.item import Rejected
from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress
from tumorbase.query import answers
from tumorbase.server.overview import EncoderOverview, Overview
from tumorbase.server.wire import to_message, to_value
from tumorbase.store.check import CheckReport, Problem
from tumorbase.v1 import (
    admin_pb2,
    common_pb2,
    diagnosis_pb2,
    ingest_pb2,
    retrieval_pb2,
    survival_pb2,
    tracking_pb2,
)

RECEIPT = answers.Receipt(7, "shape-1-ab", "e3b0", False, "age > 3", 12, ("first", "second"))
HIT = answers.Hit(
    "L1",
    "P1",
    0.25,
    {"region": "liver", "long_axis_mm": 12.5, "slices": 3, "is_target": True},
    (answers.Contribution("lesion", 0.5, 1.0),),
)
CURVE = answers.SurvivalCurve((1.0, 2.0), (0.9, 0.8))
ENCODER = EncoderOverview("shape", "lesion", "shape-1-ab", "1", 9, "e3b0", True, False, 5)
PAIRS: list[tuple[Any, type[Message]]] = [
    (RECEIPT, common_pb2.Receipt),
    (
        answers.SimilarQuestion("lesion", vector=(1.0, 0.5), limit=3, commit=2),
        retrieval_pb2.FindSimilarRequest,
    ),
    (
        answers.Similar("lesion", "shape", True, (HIT,), RECEIPT),
        retrieval_pb2.FindSimilarResponse,
    ),
    (
        answers.PatientTracks(
            "P1",
            (
                answers.Track(
                    "T1",
                    "present",
                    "liver",
                    (answers.TrackLesion("L1", "S1", "new", 12.0, 8.0, True),),
                    ("T0",),
                ),
            ),
            (answers.StudySum("S1", "2020-01-01", 12.0, "baseline", 12.0, 0),),
            RECEIPT,
        ),
        tracking_pb2.TrackLesionsResponse,
    ),
    (
        answers.TrainingQuestion("OS", "cox", "m", ((("a", "b"), ("c",)), (("c",), ("a",))), 3),
        survival_pb2.TrainRequest,
    ),
    (
        answers.Trained(
            "m", "cox", "OS", 4, 2, 3, answers.CIndex(0.6, 0.1, (0.5, 0.7)), 1.5, RECEIPT
        ),
        survival_pb2.TrainResponse,
    ),
    (
        answers.Scored("m", (answers.Score("P1", 1.5, 99.0, CURVE, ("lesion",)),), RECEIPT),
        survival_pb2.ScoreResponse,
    ),
    (
        answers.Diagnosed("P1", (answers.DiagnosisCandidate("C34.1", "", 0.5, ("P2",)),), RECEIPT),
        diagnosis_pb2.DiagnoseResponse,
    ),
    (IngestOptions(), ingest_pb2.IngestOptions),
    (IngestOptions(source="", workers=0, mpp=0.0), ingest_pb2.IngestOptions),
    (
        IngestOptions("cohort", ("shape",), 2, "cpu", 0.5, pseudonym_key=b"\x00key"),
        ingest_pb2.IngestOptions,
    ),
    (
        IngestSummary("r", {"lesions": 2}, 1, (Rejected("a.dcm", "cut"),), 2.0, {"read": 1.0}),
        ingest_pb2.IngestSummary,
    ),
    (Progress(1, 2, "a.dcm", "committed"), ingest_pb2.IngestProgress),
    (
        Overview("/s", 1, 7, {"lesion": 2}, (ENCODER,), {"a": 1}, 3, ("m",), 100),
        admin_pb2.StatusResponse,
    ),
    (CheckReport((Problem("vector-count", "lesion/a", "2 not 3", 7),), 1), admin_pb2.CheckResponse),
]


@pytest.mark.parametrize(("value", "message_class"), PAIRS, ids=lambda part: type(part).__name__)
def test_values_come_back_equal(value: Any, message_class: type[Message]) -> None:
    sent = to_message(value, message_class).SerializeToString()
    assert to_value(message_class.FromString(sent), type(value)) == value


@pytest.mark.parametrize(("value", "message_class"), PAIRS, ids=lambda part: type(part).__name__)
def test_messages_have_the_fields_of_their_dataclass_and_no_other(
    value: Any, message_class: type[Message]
) -> None:
    fields = {field.name for field in dataclasses.fields(value)}
    assert set(message_class.DESCRIPTOR.fields_by_name) == fields


def test_every_answer_is_among_the_tested_pairs() -> None:
    tested = {type(value) for value, _ in PAIRS}
    parts = [
        "Contribution",
        "Hit",
        "TrackLesion",
        "Track",
        "StudySum",
        "CIndex",
        "SurvivalCurve",
        "Score",
    ]
    expected = {
        answer
        for name, answer in vars(answers).items()
        if dataclasses.is_dataclass(answer) and name not in [*parts, "DiagnosisCandidate"]
    }
    assert expected <= tested


def test_a_missing_detail_stays_missing() -> None:
    hit = dataclasses.replace(HIT, details={"volume_mm3": None})  # type: ignore[dict-item]
    assert to_value(to_message(hit, retrieval_pb2.Hit), answers.Hit).details == {"volume_mm3": None}


def test_a_field_that_the_message_lacks_is_an_error() -> None:
    with pytest.raises(AttributeError):
        to_message(HIT, common_pb2.Receipt)


def test_what_a_caller_leaves_out_takes_its_default() -> None:
    assert to_value(ingest_pb2.IngestOptions(), IngestOptions) == IngestOptions()
    asked = to_value(retrieval_pb2.FindSimilarRequest(level="lesion"), answers.SimilarQuestion)
    assert asked == answers.SimilarQuestion("lesion")
    none = retrieval_pb2.FindSimilarRequest(level="lesion", limit=0)
    assert to_value(none, answers.SimilarQuestion).limit == 0
