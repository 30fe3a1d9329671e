"""TCGA and LUNG1 as published: ingested, trained with the published folds, and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.query.answers import Trained, TrainingQuestion
from tumorbase.query.survival import score_patients, train_survival
from tumorbase.server.folds import read_folds
from tumorbase.store.store import Store


def train(
    store: Store, table: Path, folds: Path | None = None, architecture: str = "cox"
) -> Trained:
    """A model of overall survival on one published table."""
    summary = ingest(store, [table], IngestOptions(source="tcga", workers=1))
    assert summary.quarantined == ()
    question = TrainingQuestion("OS", architecture, "os", read_folds(folds) if folds else ())
    trained = train_survival(store, question)
    index = trained.c_index
    print(f"{table.name}: {architecture}, C-index {index.mean:.3f} sd {index.sd:.3f}")
    return trained


@pytest.mark.slow
@pytest.mark.parametrize(("cancer", "cases", "deaths"), [("blca", 373, 169), ("luad", 453, 158)])
def test_tcga_trains_on_its_published_folds_and_scores(shared, tmp_path, cancer, cases, deaths):
    folder = shared / "data" / "genomics" / "mcat"
    table = folder / "datasets_csv_sig" / f"tcga_{cancer}_all_clean.csv.zip"
    with Store.create(tmp_path / "store") as store:
        trained = train(store, table, folder / "splits" / "5foldcv" / f"tcga_{cancer}")
        assert (trained.patients, trained.events) == (cases, deaths)
        assert len(trained.c_index.folds) == 5
        assert trained.c_index.mean > 0.5  # better than chance; how much better is printed
        view = store.view()
        outcomes = view.table("outcome").sort_by("time_days")
        soonest = outcomes["patient_id"].to_pylist()[:50]
        scored = score_patients(view, "os", soonest)
    assert [score.patient_id for score in scored.scores] == soonest
    assert {"profile", "clinical"} >= set(scored.scores[0].modalities)
    for score in scored.scores:
        assert 0 <= score.percentile <= 100
        assert np.all(np.diff(score.survival.probability) <= 0)


@pytest.mark.slow
def test_a_network_of_genes_trains_on_the_published_folds(shared, tmp_path):
    folder = shared / "data" / "genomics" / "mcat"
    table = folder / "datasets_csv_sig" / "tcga_blca_all_clean.csv.zip"
    with Store.create(tmp_path / "store") as store:
        trained = train(store, table, folder / "splits" / "5foldcv" / "tcga_blca", "snn")
        assert (trained.patients, trained.events, len(trained.c_index.folds)) == (373, 169, 5)
        assert trained.c_index.mean > 0.54  # of the SNN in MCAT's Table 1


def test_lung1_trains_and_counts_its_deaths(shared, tmp_path):
    table = shared / "data" / "clinical" / "lung1_annotations.csv"
    with Store.create(tmp_path / "store") as store:
        trained = train(store, table)
    assert trained.patients == 421
    assert trained.events == 373  # deadstatus.event is 1 for death: most of LUNG1 died
