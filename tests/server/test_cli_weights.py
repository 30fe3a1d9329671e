"""What the command line says of weights: where they are, whether they fit, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from golden import save_weights
from snn_weights import save_snn
from tumorbase.models.published import PUBLISHED
from tumorbase.server.cli import main

NAME = "hipt-vit4k"  # the smallest network


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEIGHTS", "STORE", "SERVER"):
        monkeypatch.delenv(f"TUMORBASE_{name}", raising=False)


def tumorbase(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def reports(*words: object) -> dict[str, dict[str, Any]]:
    return {r["name"]: r for r in json.loads(tumorbase(*words, "--json").stdout)["weights"]}


def test_all_weights_are_listed_with_licence_and_state(tmp_path: Path) -> None:
    path = save_weights(NAME, tmp_path)
    listed = reports("weights", "list", "--weights", tmp_path)
    assert set(listed) == set(PUBLISHED)
    assert (listed[NAME]["state"], listed[NAME]["path"]) == ("own", str(path))
    others = [report for name, report in listed.items() if name != NAME]
    assert all(report["state"] == "missing" and report["licence"] for report in others)


def test_weights_that_fit_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(NAME, tmp_path)
    monkeypatch.setenv("TUMORBASE_WEIGHTS", str(tmp_path))
    result = tumorbase("weights", "verify")
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()[1:]] == [[NAME, "own"]]


def test_weights_that_do_not_fit_are_an_error_that_names_their_keys(tmp_path: Path) -> None:
    torch.save({"phi.0.weight": torch.zeros(3)}, tmp_path / f"{NAME}.pth")
    result = tumorbase("weights", "verify", "--weights", tmp_path)
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "missing: cls_token" in result.stderr
    assert reports("weights", "verify", "--weights", tmp_path)[NAME]["state"] == "wrong"


def test_what_an_encoder_asks_of_its_file_is_verified_too(tmp_path: Path) -> None:
    path = save_snn(tmp_path, ["TP53_rnaseq", "KRAS_rnaseq"]) / "snn.safetensors"
    assert reports("weights", "verify", "--weights", tmp_path)["snn"]["state"] == "own"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path) | {"input_deviation": torch.zeros(2)}, path, metadata)
    report = reports("weights", "verify", "--weights", tmp_path)["snn"]
    assert (report["state"], "deviations above 0" in report["problem"]) == ("wrong", True)


def test_the_path_of_weights_is_printed_alone(tmp_path: Path) -> None:
    path = save_weights(NAME, tmp_path)
    assert tumorbase("weights", "path", NAME, "--weights", tmp_path).stdout == f"{path}\n"


def test_weights_of_an_encoder_are_found_by_its_name(tmp_path: Path) -> None:
    path = save_weights(NAME, tmp_path)
    result = tumorbase("weights", "path", "hipt-4k", "--weights", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "weights of hipt-vit256 not found" in result.stderr
    (tmp_path / "hipt-vit256.pth").write_bytes(b"PK")
    printed = tumorbase("weights", "path", "hipt-4k", "--weights", tmp_path).stdout
    assert printed == f"{tmp_path / 'hipt-vit256.pth'}\n{path}\n"
    listed = reports("weights", "verify", "hipt-4k", NAME, "--weights", tmp_path)
    assert {name: report["state"] for name, report in listed.items()} == {
        "hipt-vit256": "wrong",
        NAME: "own",
    }


def test_the_list_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / PUBLISHED[NAME].file).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    result = tumorbase("weights", "list", "--weights", tmp_path)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert "got a pointer of Git LFS" in line


def test_missing_weights_are_one_line_of_error(tmp_path: Path) -> None:
    result = tumorbase("weights", "path", NAME, "--weights", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    for part in (PUBLISHED[NAME].file, PUBLISHED[NAME].sha256, str(tmp_path), "not for commercial"):
        assert part in line


def test_an_unknown_name_is_told_the_known_ones() -> None:
    result = tumorbase("weights", "verify", "alexnet")
    assert result.exit_code == 1
    assert "weights must be one of h-optimus-0, " in result.stderr


def test_encoders_that_are_networks_are_listed_without_their_weights() -> None:
    listed = json.loads(tumorbase("encoders", "--json").stdout)["encoders"]
    networks = [encoder for encoder in listed if encoder["weights"]]
    assert networks
    for encoder in networks:
        assert (encoder["weights"], encoder["encoder_id"]) == ("missing", "")
        assert encoder["dim"] > 0
        assert encoder["licence"]


def test_ingest_without_the_weights_it_needs_ends_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "patients.csv").write_text("patient_id\nP1\n")
    network = next(
        e["name"]
        for e in json.loads(tumorbase("encoders", "--json").stdout)["encoders"]
        if e["weights"]
    )
    result = tumorbase(
        "ingest", tmp_path / "cohort", "--store", tmp_path / "store", "--encoder", network
    )
    assert result.exit_code == 1
    assert "not found: put " in result.stderr


def test_weights_of_other_libraries_are_found_and_loaded_by_their_names(tmp_path: Path) -> None:
    path = save_weights("timm-test_vit.r160_in1k", tmp_path)
    (report,) = reports(
        "weights", "verify", "timm-test_vit.r160_in1k", "--weights", tmp_path
    ).values()
    assert (report["state"], report["path"], report["dim"]) == ("own", str(path), 64)
