"""Genomic profiles embedded by a trained SNN, whatever their panel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from golden import fill
from snn_weights import save_snn
from tumorbase.models.encoders import Runtime, build_encoder
from tumorbase.models.genomic_profile import GenomicProfile
from tumorbase.models.networks import build

COLUMNS = ("TP53_rnaseq", "KRAS_rnaseq", "TP53_mut", "EGFR_cnv")


def profile(*values: float, columns: Sequence[str] = COLUMNS) -> GenomicProfile:
    return GenomicProfile(tuple(columns), np.array(values, dtype=np.float32))


def test_a_vector_is_the_last_block_of_the_z_scores(tmp_path: Path) -> None:
    encoder = build_encoder("snn", Runtime(weights=save_snn(tmp_path, COLUMNS)))
    (vector,) = encoder.encode([profile(3.0, 0.0, 1.0, -1.0)])
    network = fill(build("snn", input_dim=4))
    with torch.no_grad():
        expected = network.features(torch.tensor([[1.5, 0.0, 0.5, -0.5]]))[0].numpy()
    np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)
    assert (encoder.spec.level, encoder.spec.dim) == ("profile", 256)


def test_columns_are_found_by_name_and_others_do_not_count(tmp_path: Path) -> None:
    encoder = build_encoder("snn", Runtime(weights=save_snn(tmp_path, COLUMNS)))
    shuffled = ("MYC_rnaseq", *reversed(COLUMNS))
    same = encoder.encode([profile(3, 0, 1, -1), profile(9, -1, 1, 0, 3, columns=shuffled)])
    np.testing.assert_array_equal(same[0], same[1])


def test_what_is_missing_is_the_mean(tmp_path: Path) -> None:
    encoder = build_encoder("snn", Runtime(weights=save_snn(tmp_path, COLUMNS)))
    whole, empty, absent = encoder.encode(
        [
            profile(3, 0, 0, 0),
            profile(3, 0, np.nan, np.nan),
            profile(3, 0, columns=COLUMNS[:2]),
        ]
    )
    np.testing.assert_array_equal(empty, whole)
    np.testing.assert_array_equal(absent, whole)


def test_a_profile_of_other_genes_is_refused(tmp_path: Path) -> None:
    encoder = build_encoder("snn", Runtime(weights=save_snn(tmp_path, COLUMNS)))
    with pytest.raises(ValueError, match="expected at least half of the 4 columns of snn, got 1"):
        encoder.encode([profile(3, columns=COLUMNS[:1])])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "expected columns, a list of names, in its metadata, got 0 columns"),
        (5, "expected columns, a list of names, in its metadata, got 5"),
        ("ABCD", "expected columns, a list of names, in its metadata, got 'ABCD'"),
        ([1, 2, 3, 4], r"expected columns, a list of names, in its metadata, got \[1, 2, 3, 4\]"),
        (COLUMNS[:3], "expected input_mean and input_deviation of each of its 3 columns"),
    ],
)
def test_weights_that_do_not_say_their_columns_are_refused(
    columns: object, message: str, tmp_path: Path
) -> None:
    state = load_file(save_snn(tmp_path, COLUMNS) / "snn.safetensors")
    save_file(state, tmp_path / "snn.safetensors", {"columns": json.dumps(columns)})
    with pytest.raises(ValueError, match=message):
        build_encoder("snn", Runtime(weights=tmp_path))


@pytest.mark.parametrize("input_dim", [5, "4"])
def test_weights_of_another_number_of_inputs_than_columns_are_refused(
    input_dim: object, tmp_path: Path
) -> None:
    state = load_file(save_snn(tmp_path, COLUMNS) / "snn.safetensors")
    notes = {"columns": COLUMNS, "config": {"input_dim": input_dim}}
    metadata = {name: json.dumps(value) for name, value in notes.items()}
    save_file(state, tmp_path / "snn.safetensors", metadata)
    with pytest.raises(ValueError, match=f"got 4 columns and the input_dim {input_dim!r}"):
        build_encoder("snn", Runtime(weights=tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_mean", np.nan),
        ("input_deviation", 0.0),
        ("input_deviation", -1.0),
        ("input_deviation", np.inf),
    ],
)
def test_weights_that_nothing_can_be_standardised_by_are_refused(
    name: str, value: float, tmp_path: Path
) -> None:
    state = load_file(save_snn(tmp_path, COLUMNS) / "snn.safetensors")
    state[name][1] = value
    save_file(state, tmp_path / "snn.safetensors", {"columns": json.dumps(COLUMNS)})
    with pytest.raises(ValueError, match=r"expected finite values .* deviations above 0"):
        build_encoder("snn", Runtime(weights=tmp_path))


def test_a_configuration_that_the_network_does_not_know_is_refused(tmp_path: Path) -> None:
    state = load_file(save_snn(tmp_path, COLUMNS) / "snn.safetensors")
    metadata = {"columns": json.dumps(COLUMNS), "config": json.dumps({"depth": 3})}
    save_file(state, tmp_path / "snn.safetensors", metadata)
    encoder = build_encoder("snn", Runtime(weights=tmp_path))
    with pytest.raises(ValueError, match="snn cannot be built of"):
        encoder.encode([profile(1, 2, 3, 4)])
