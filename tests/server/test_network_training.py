"""A survival network over the command line and over the wire, from files to scores."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tumorbase.ingest.pipeline import IngestOptions
from tumorbase.query.answers import TrainingQuestion
from tumorbase.server.cli import main
from tumorbase.server.client import Client
from tumorbase.server.folds import read_folds
from tumorbase.server.local import LocalClient
from tumorbase.store.errors import NotFound, Unavailable
from tumorbase.store.store import Store

PATIENTS = [f"N{number:02}" for number in range(16)]
GENES = [f"G{number}_rnaseq" for number in range(6)]


def write(file: Path, *rows: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as target:
        csv.writer(target).writerows(rows)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 patients with features of three patches, genes in two groups and an outcome; the first has
    no features.
    """
    folder, rng = tmp_path_factory.mktemp("networks") / "cohort", np.random.default_rng(0)
    outcomes = [[p, "OS", 900 - 30 * row, int(row % 4 > 0)] for row, p in enumerate(PATIENTS)]
    write(folder / "outcomes.csv", ["patient_id", "endpoint", "time_days", "event"], *outcomes)
    profiles = [[p, *rng.normal(size=6).round(4)] for p in PATIENTS]
    write(folder / "genomics" / "rna.csv", ["patient_id", *GENES], *profiles)
    signatures = [["G0", "G3"], ["G1", "G4"], ["G2", ""]]
    write(folder / "genomics" / "signatures.csv", ["repair", "growth"], *signatures)
    features = folder / "pathology" / "features"
    features.mkdir(parents=True)
    for row, patient in enumerate(PATIENTS[1:]):
        with h5py.File(features / f"{patient}.h5", "w") as file:
            file["features"] = rng.normal(row / 10, 0.1, size=(3, 5)).astype(np.float32)
            file["coords"] = 512 * np.arange(6).reshape(3, 2)
    splits = [["train", "val"], *zip(PATIENTS[::2], PATIENTS[1::2], strict=True)]
    write(folder.parent / "splits" / "splits_0.csv", *splits)
    return folder


@pytest.fixture(scope="module")
def networks_store(cohort: Path) -> Path:
    """The cohort's store, to be copied and not opened."""
    path = cohort.parent / "store"
    with LocalClient(Store.create(path)) as client:
        assert client.ingest([cohort], IngestOptions(workers=1)).quarantined == ()
    return path


def answer(*words: object) -> dict[str, Any]:
    """The document of a command that went well."""
    result = CliRunner().invoke(main, [*map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_command_line_and_the_server_train_and_score_alike(
    networks_store: Path,
    cohort: Path,
    tmp_path: Path,
    serve: Callable[..., AbstractContextManager[str]],
) -> None:
    store, served = (shutil.copytree(networks_store, tmp_path / name) for name in "ab")
    splits = cohort.parent / "splits"
    words = ("--endpoint", "OS", "--architecture", "hfbsurv", "--name", "net", "--folds", splits)
    trained = answer("train", "survival", *words, "--seed", 5, "--store", store)
    scored = answer("score", *PATIENTS[1:4], "--model", "net", "--store", store)
    assert (trained["patients"], trained["features"]) == (15, 5 + 5)
    assert trained["receipt"]["encoder"].startswith("features-")
    assert "1 patients left out: hfbsurv takes patch and profile" in trained["receipt"]["notes"]
    assert [score["patient_id"] for score in scored["scores"]] == PATIENTS[1:4]
    assert {tuple(score["modalities"]) for score in scored["scores"]} == {("patch", "profile")}
    refused = CliRunner().invoke(main, ["score", "N00", "--model", "net", "--store", str(store)])
    assert refused.stderr.startswith("error: patient 'N00' has no patch of features-")

    question = TrainingQuestion("OS", "hfbsurv", "net", read_folds(splits), seed=5)
    with LocalClient.open(served) as local, serve(local) as address, Client(address) as client:
        assert list(client.train_survival(question).c_index.folds) == trained["c_index"]["folds"]
        scores = client.score("net", PATIENTS[1:4]).scores
    assert [score.risk for score in scores] == [score["risk"] for score in scored["scores"]]


def test_training_ends_when_its_caller_does(
    networks_store: Path, tmp_path: Path, serve: Callable[..., AbstractContextManager[str]]
) -> None:
    store = shutil.copytree(networks_store, tmp_path / "store")
    with LocalClient.open(store) as local:
        # On its way down the server waits for what it has begun.
        with (
            serve(local) as address,
            Client(address, timeout_seconds=1) as client,
            pytest.raises(Unavailable, match="time allowed"),
        ):
            client.train_survival(TrainingQuestion("OS", "hfbsurv", "net"))
        with pytest.raises(NotFound, match="net"):
            local.score("net", PATIENTS[1:2])
