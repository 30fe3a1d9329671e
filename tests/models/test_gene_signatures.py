"""Signature scores: the mean of a group's genes, each kind by itself."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.gene_signatures import GeneSignatures, groups_of

GROUPS = {"growth": ["A", "B"], "repair": ["C"]}
PANEL = ["B_rnaseq", "A_rnaseq", "X_rnaseq", "A_cnv", "C_mut"]


def test_score_is_the_mean_of_the_groups_columns() -> None:
    encoder = GeneSignatures(GROUPS, PANEL)
    scores = encoder.encode([np.array([1.0, 4.0, 100.0, -2.0, 1.0])])
    assert dict(zip(encoder.spec.feature_names, scores[0].tolist(), strict=True)) == {
        "growth_rnaseq": 2.5,
        "growth_cnv": -2.0,
        "growth_mut": 0.0,
        "repair_rnaseq": 0.0,
        "repair_cnv": 0.0,
        "repair_mut": 1.0,
    }
    assert scores.dtype == np.float32
    assert encoder.columns_used == 4


def test_missing_value_is_left_out_of_the_mean() -> None:
    scores = GeneSignatures(GROUPS, PANEL).encode([np.array([np.nan, 4.0, 0.0, np.nan, np.nan])])
    assert scores[0].tolist() == [4.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_encoder_is_bound_to_the_groups_and_not_to_the_panel() -> None:
    same = GeneSignatures(GROUPS, ["A_rnaseq"]).spec
    assert GeneSignatures(GROUPS, PANEL).spec == same
    other = GeneSignatures({"growth": ["A"], "repair": ["C"]}, PANEL).spec
    assert other.encoder_id != same.encoder_id


def test_spec_names_the_genes_of_its_groups_in_their_order() -> None:
    groups = {"repair": ["C"], "growth": ["B", "A"]}
    found = groups_of(GeneSignatures(groups, PANEL).spec.preprocessing)
    assert list(found.items()) == [("repair", ["C"]), ("growth", ["A", "B"])]
    with pytest.raises(ValueError, match="length"):
        groups_of('{"groups":["repair"]}')


def test_vector_does_not_depend_on_the_batch() -> None:
    profiles = np.random.default_rng(0).normal(size=(5, len(PANEL)))
    encoder = GeneSignatures(GROUPS, PANEL)
    alone = np.vstack([encoder.encode(profile[None]) for profile in profiles])
    np.testing.assert_array_equal(encoder.encode(profiles), alone)


def test_profile_of_another_panel_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 5 values"):
        GeneSignatures(GROUPS, PANEL).encode([np.zeros(4)])
    with pytest.raises(ValueError, match="infinity"):
        GeneSignatures(GROUPS, PANEL).encode([np.full(5, np.inf)])


@pytest.mark.parametrize("groups", [{}, {"empty": []}])
def test_groups_without_genes_are_refused(groups: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        GeneSignatures(groups, PANEL)
