"""Gene groups of the TCGA tables that MCAT published, and of panels that lack genes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from golden import assert_golden
from tumorbase.models.gene_groups import GeneGroups
from tumorbase.models.standardisation import column_statistics, standardise

GROUPS = {"suppressors": ["TP53", "RB1"], "oncogenes": ["MYC", "TP53"]}


def mcat_groups(folder: Path) -> dict[str, list[str]]:
    """The genes of each column of signatures.csv."""
    header, *rows = csv.reader((folder / "signatures.csv").read_text().splitlines())
    columns = zip(*rows, strict=True)
    return {
        name: [gene for gene in genes if gene] for name, genes in zip(header, columns, strict=True)
    }


@pytest.mark.parametrize("cohort", ["tcga_blca", "tcga_luad"])
def test_sizes_are_those_of_mcat_but_for_the_gene_that_it_drops(shared, cohort) -> None:
    folder = shared / "data" / "genomics" / "mcat"
    golden = np.load(shared / "reference" / "mcat" / "golden_bins.npz")
    table = folder / "datasets_csv_sig" / f"{cohort}_all_clean.csv.zip"
    panel = list(pd.read_csv(table, nrows=1).columns)
    assert panel[-1] == "ZXDC_rnaseq"  # a transcription factor
    ours = GeneGroups.of_panel(mcat_groups(folder), panel)
    assert ours.columns[4][-1] == "ZXDC_rnaseq"
    published = GeneGroups.of_panel(mcat_groups(folder), panel[:-1])
    assert list(published.sizes) == golden[f"{cohort}/omic_sizes"].tolist()
    assert sum(ours.sizes) == sum(published.sizes) + 1


@pytest.mark.parametrize("cohort", ["tcga_blca", "tcga_luad"])
def test_columns_standardised_on_the_training_fold_are_golden(shared, cohort) -> None:
    folder = shared / "data" / "genomics" / "mcat"
    golden = np.load(shared / "reference" / "mcat" / "golden_bins.npz")
    columns = golden[f"{cohort}/scaled_cols"].tolist()
    table = pd.read_csv(
        folder / "datasets_csv_sig" / f"{cohort}_all_clean.csv.zip",
        usecols=["case_id", *columns],
    ).drop_duplicates("case_id")
    fold = pd.read_csv(folder / "splits" / "5foldcv" / cohort / "splits_0.csv")
    values = {
        part: table[table["case_id"].isin(fold[part])][columns].to_numpy()
        for part in ("train", "val")
    }
    mean, sd = column_statistics(values["train"])
    for part, measured in values.items():
        expected = golden[f"{cohort}/scaled_{part}_fold0"]
        assert_golden(standardise(measured, mean, sd)[: len(expected)], expected)


def test_columns_come_in_the_order_of_their_names_and_labels_stay_out() -> None:
    panel = ["train", "censorship", "TP53_rnaseq", "RB1_mut", "MYC_cnv", "TP53_cnv", "AAK1_rnaseq"]
    groups = GeneGroups.of_panel(GROUPS, panel)
    assert groups.names == ("suppressors", "oncogenes")
    assert groups.columns == (
        ("RB1_mut", "TP53_cnv", "TP53_rnaseq"),
        ("MYC_cnv", "TP53_cnv", "TP53_rnaseq"),
    )


def test_profiles_of_any_column_order_are_split_alike() -> None:
    panel = ["TP53_rnaseq", "MYC_cnv", "age", "RB1_mut"]
    groups, profiles = GeneGroups.of_panel(GROUPS, panel), np.arange(8.0).reshape(2, 4)
    split = groups.split(profiles, panel)
    again = groups.split(profiles[:, ::-1], panel[::-1])
    np.testing.assert_array_equal(split[0], [[3, 0], [7, 4]])
    np.testing.assert_array_equal(split[1], [[1, 0], [5, 4]])
    for ours, other in zip(split, again, strict=True):
        np.testing.assert_array_equal(ours, other)


def test_a_panel_without_any_gene_of_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="panel of 1 columns has none of group 'oncogenes'"):
        GeneGroups.of_panel(GROUPS, ["RB1_mut"])


def test_a_panel_that_lacks_columns_of_the_network_is_refused() -> None:
    groups = GeneGroups.of_panel(GROUPS, ["TP53_rnaseq", "MYC_cnv", "RB1_mut"])
    with pytest.raises(ValueError, match="lacks 1 of the 2 columns of group 'oncogenes': MYC_cnv"):
        groups.split(np.zeros((1, 2)), ["TP53_rnaseq", "RB1_mut"])
