"""The command line keeps its contract: options, JSON keys, exit codes, one error line."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pyarrow import feather, parquet
from pyarrow.csv import read_csv

from tumorbase.models.encoders import is_installed
from tumorbase.server.as_of import parse_as_of
from tumorbase.server.cli import main
from tumorbase.server.folds import read_folds
from tumorbase.server.local import LocalClient
from tumorbase.server.output import print_table
from tumorbase.store.errors import InvalidRequest

HEAVY = ("numpy", "pyarrow", "torch", "lancedb", "duckdb", "grpc", "pandas", "rich")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORE", "SERVER", "TOKEN_FILE", "TLS_CA", "PSEUDONYM_KEY"):
        monkeypatch.delenv(f"TUMORBASE_{name}", raising=False)


def tumorbase(*words: object) -> Result:
    """What the command line does; bugs are raised."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(*words: object) -> Any:
    """The one JSON document of a command that went well."""
    result = tumorbase(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def error_of(*words: object) -> str:
    """The one line of a command that ended in an error."""
    result = tumorbase(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def csv_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a small CSV file."""
    return list(csv.DictReader(file.read_text().splitlines()))


def test_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, tumorbase.server.cli; print(sorted(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_has_help() -> None:
    listed = tumorbase("--help").stdout
    for name, command in main.commands.items():
        assert name in listed
        assert command.help
        assert tumorbase(name, "--help").exit_code == 0


def test_ingest_makes_the_store_and_a_second_run_changes_nothing(
    cohort: Path, tmp_path: Path
) -> None:
    words = ("ingest", cohort, "--store", tmp_path / "new", "--workers", 1)
    first = answer(*words)
    assert set(first) >= {"run_id", "added", "unchanged", "quarantined", "seconds"}
    kinds = ["patients", "studies", "series", "lesions", "slides", "patches", "nuclei", "profiles"]
    assert set(first["added"]) == set(kinds)
    assert (first["added"]["patients"], first["added"]["lesions"]) == (40, 160)
    again = answer(*words)
    assert set(again["added"].values()) == {0}
    assert again["unchanged"] > 0


def test_patches_are_cut_at_the_size_asked_for(small_cohort: Path, tmp_path: Path) -> None:
    slides = small_cohort / "pathology" / "slides"
    words = ("ingest", slides, "--store", tmp_path / "s", "--mpp", 0.5, "--workers", 1)
    assert answer(*words, "--patch-px", 128)["added"]["patches"] == 2 * 4 * 4
    again = answer(*words, "--patch-px", 256)["encoded"]
    listed = answer("encoders", "--store", tmp_path / "s")["encoders"]
    vectors = {each["encoder_id"]: each["vectors"] for each in listed if each["vectors"]}
    assert sorted(again.values()) == [2, 2 * 2 * 2]  # of slides and of patches
    assert again.items() < vectors.items()
    assert sorted(vectors.values())[-1] > 2 * 4 * 4  # nuclei
    assert 2 * 4 * 4 in vectors.values()  # beside the others


def test_quarantined_inputs_are_named_and_the_exit_status_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "patients.csv").write_text("patient_id,age\nP1,50\nP2,60\n")
    (folder / "outcomes.csv").write_text("patient_id,endpoint,time_days,event\nP1,OS,5,2\n")
    result = tumorbase("ingest", folder, "--store", tmp_path / "s", "--workers", 1, "--json")
    assert result.exit_code == 3
    (refused,) = json.loads(result.stdout)["quarantined"]
    assert "outcomes.csv" in refused["path"]
    assert "2" in refused["reason"]


def test_pseudonymised_ingest_makes_a_private_key_beside_the_store(
    cohort: Path, tmp_path: Path
) -> None:
    words = ("ingest", cohort, "--store", tmp_path / "s", "--workers", 1, "--pseudonymise")
    answer(*words)
    key = tmp_path / "s.pseudonym-key"
    assert key.stat().st_mode & 0o777 == 0o600
    answer("export", "--level", "patient", "--store", tmp_path / "s", "--out", tmp_path / "p.csv")
    rows = csv_rows(tmp_path / "p.csv")
    assert len(rows) == 40
    assert not {row["patient_id"] for row in rows} & {"P00", "P01"}
    assert answer(*words)["added"]["patients"] == 0  # the same key again


def test_a_short_key_in_the_environment_is_refused(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORBASE_PSEUDONYM_KEY", "short")
    line = error_of("ingest", cohort, "--store", tmp_path / "s", "--pseudonymise")
    assert "at least 16 bytes, got 5" in line


def test_a_path_that_is_not_there_makes_no_store(tmp_path: Path) -> None:
    line = error_of("ingest", tmp_path / "nothing", "--store", tmp_path / "s")
    assert "nothing: no such file" in line
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--encoder", "nope"), "encoder must be one of"),
        (("--encoder", "timm-nope"), "timm knows no model"),
        (("--encoder", "timm-resnet10t"), "weights of timm-resnet10t not found"),
        (("--source", "nope"), "source must be one of"),
    ],
)
def test_what_cannot_be_ingested_with_makes_no_store(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    assert expected in error_of("ingest", tmp_path, "--store", tmp_path / "s", *words)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--encoder", "nothing"), "measurement"),
        (("--source", "nothing"), "deeplesion"),
        (("--mpp", "0"), "mpp must be in"),
        (("--patch-mpp", "-1"), "patch mpp must be in"),
        (("--patch-px", "8"), "patch px must be in"),
        (("--workers", "0"), "at least 1"),
    ],
)
def test_unsound_ingest_options_are_refused(
    cohort: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    assert expected in error_of("ingest", cohort, "--store", tmp_path / "s", *words)


def test_a_device_that_is_not_there_is_refused(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cuda" in error_of("ingest", cohort, "--store", tmp_path / "s", "--device", "cuda")


def test_similar_lists_neighbours_nearest_first(store_path: Path) -> None:
    found = answer("similar", "P03-0-1", "--level", "lesion", "--store", store_path, "-k", 5)
    assert set(found) >= {"level", "encoder", "exact", "hits", "receipt"}
    receipt = {"commit", "encoder", "weights_sha256", "exact", "where", "rows_searched", "notes"}
    assert set(found["receipt"]) == receipt
    distances = [hit["distance"] for hit in found["hits"]]
    assert distances == sorted(distances)
    assert len(distances) == 5
    assert {"id", "patient_id", "distance", "contributions", "long_axis_mm"} <= set(
        found["hits"][0]
    )
    assert "P03" not in {hit["patient_id"] for hit in found["hits"]}


def test_the_query_own_patient_comes_only_if_asked_for(store_path: Path) -> None:
    words = ("similar", "P03-0-1", "--level", "lesion", "--store", store_path)
    hits = answer(*words, "--same-patient", "--where", "patient_id = 'P03'")["hits"]
    assert {hit["id"] for hit in hits} == {"P03-0-0", "P03-1-0", "P03-1-1"}
    assert answer(*words, "--where", "patient_id = 'P03'")["hits"] == []


def test_similar_by_vector(store_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(9.0))
    words = ("similar", "--vector", tmp_path / "v.npy", "--level", "lesion", "--store", store_path)
    assert len(answer(*words)["hits"]) == 10


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(4), "9 numbers"),
        (np.zeros((2, 9)), r"(2, 9)"),
        (np.full(9, np.nan), "finite"),
        (np.array(["a"]), "real numbers"),
        (np.array([{}], dtype=object), ".npy"),
    ],
    ids=["dimension", "shape", "nan", "text", "pickle"],
)
def test_an_unsound_vector_is_refused(
    store_path: Path, tmp_path: Path, array: np.ndarray, expected: str
) -> None:
    file = tmp_path / "v.npy"
    np.save(file, array)
    line = error_of("similar", "--vector", file, "--level", "lesion", "--store", store_path)
    assert expected in line


def test_an_ingested_image_finds_itself(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "ct" / "sts" / "STS_002"
    image, mask = folder / "CT_image.nii.gz", folder / "CT_mask.nii.gz"
    other = folder.with_name("STS_003") / "CT_image.nii.gz"
    answer("ingest", image, other, "--store", tmp_path / "s", "--workers", 1)
    words = ("similar", "--image", image, "--level", "lesion", "--store", tmp_path / "s")
    found = answer(*words, "--mask", mask)
    assert found["encoder"].startswith("radiomics-")
    assert found["hits"][0]["distance"] == pytest.approx(0, abs=1e-6)
    assert "mask" in error_of(*words)
    assert "no lesion encoder 'nothing'" in error_of(*words, "--mask", mask, "--encoder", "nothing")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("P03-0-1", "-k", 0), "got 0"),
        (("P03-0-1", "-k", 10_000), "got 10000"),
        (("nobody",), "nobody"),
        (("P03-0-1", "--where", "1 = "), "predicate"),
        (("P03-0-1", "--where", "age > 1; DROP TABLE x"), "predicate"),
        (("P03-0-1", "--encoder", "nothing"), "nothing"),
        (("P03-0-1", "--snapshot", "never"), "never"),
        (("--text", "a spiculated nodule"), "text"),
    ],
)
def test_unsound_questions_end_in_one_error_line(
    store_path: Path, words: tuple[object, ...], expected: str
) -> None:
    line = error_of("similar", *words, "--level", "lesion", "--store", store_path)
    assert expected in line


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--store", "a", "--server", "b:1"),
        ("similar", "--level", "lesion", "--store", "a"),
        ("similar", "x", "--text", "y", "--level", "lesion", "--store", "a"),
        ("similar", "x", "--level", "galaxy", "--store", "a"),
        ("similar", "x", "--mpp", "1", "--level", "lesion", "--store", "a"),
        ("score", "--model", "m", "--store", "a"),
        ("serve", "--store", "a", "--port", "70000"),
    ],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...]) -> None:
    assert tumorbase(*words).exit_code == 2


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    for command in (["status"], ["track"], ["check"], ["diagnose", "P00"]):
        assert str(tmp_path / "none") in error_of(*command, "--store", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_environment_names_the_store_and_the_command_line_overrules_it(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORBASE_STORE", str(store_path))
    assert answer("status")["counts"]["patient"] == 40
    assert "127.0.0.1:1" in error_of("status", "--server", "127.0.0.1:1")
    monkeypatch.setenv("TUMORBASE_SERVER", "127.0.0.1:1")
    assert answer("status", "--store", store_path)["counts"]["patient"] == 40
    assert tumorbase("status").exit_code == 2


def test_track_has_tracks_and_sums(store_path: Path) -> None:
    found = answer("track", "P03", "--store", store_path)
    (patient,) = found["patients"]
    assert patient["patient_id"] == "P03"
    assert {"track_id", "lesions"} <= set(patient["tracks"][0])
    assert {"lesion_id", "study_id"} <= set(patient["tracks"][0]["lesions"][0])
    assert {"study_id", "sum_mm", "response"} <= set(patient["sums"][0])
    assert len(answer("track", "--store", store_path)["patients"]) == 40


def test_train_and_score(store_path: Path) -> None:
    words = ("--endpoint", "OS", "--architecture", "cox", "--name", "m", "--store", store_path)
    trained = answer("train", "survival", *words)
    assert {"model", "architecture", "c_index", "seconds"} <= set(trained)
    assert set(trained["c_index"]) == {"mean", "sd", "folds"}
    scored = answer("score", "P03", "P30", "--model", "m", "--store", store_path)
    assert scored["model"] == "m"
    for score, patient in zip(scored["scores"], ("P03", "P30"), strict=True):
        assert score["patient_id"] == patient
        assert {"risk", "percentile", "survival", "modalities"} <= set(score)
        assert set(score["survival"]) == {"time_days", "probability"}


def test_diagnose_lists_codes_most_probable_first(store_path: Path) -> None:
    found = answer("diagnose", "P03", "--store", store_path)
    assert found["patient_id"] == "P03"
    assert {"icd10cm", "name", "probability"} <= set(found["diagnoses"][0])
    probabilities = [d["probability"] for d in found["diagnoses"]]
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_server_answers_the_command_line_as_the_store_does(
    store_path: Path, ingested: Path, address: str, tmp_path: Path
) -> None:
    # The server owns its copy of the store; the same questions go to another copy.
    for words in (
        ("similar", "P03-0-1", "--level", "lesion"),
        ("similar", "P03", "--level", "patient", "-k", 3),
        ("track", "P03"),
        ("diagnose", "P03"),
        ("check",),
    ):
        served = answer(*words, "--server", address)
        assert served == answer(*words, "--store", ingested)
    for name, place in (("a", ("--server", address)), ("b", ("--store", ingested))):
        answer("export", "--level", "lesion", "--out", tmp_path / f"{name}.parquet", *place)
    tables = [parquet.read_table(tmp_path / f"{name}.parquet") for name in "ab"]
    assert tables[0].equals(tables[1], check_metadata=True)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_export_writes_the_format_of_the_suffix(
    store_path: Path, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"lesions.{suffix}"
    assert (
        answer("export", "--level", "lesion", "--store", store_path, "--out", file)["rows"] == 160
    )
    table = {"parquet": parquet.read_table, "arrow": feather.read_table, "csv": read_csv}[suffix](
        str(file)
    )
    assert len(set(table["lesion_id"].to_pylist())) == 160
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_export_as_of_a_date_has_the_facts_of_that_day_and_none_later(
    store_path: Path, tmp_path: Path
) -> None:
    words = ("export", "--level", "lesion", "--store", store_path, "--out", tmp_path / "l.csv")
    assert answer(*words, "--as-of", "2020-02-29")["rows"] == 0
    assert answer(*words, "--as-of", "2020-03-01")["rows"] == 80
    assert answer(*words, "--as-of", "2021-03-01")["rows"] == 160
    assert "ISO 8601" in error_of(*words, "--as-of", "yesterday")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("2020-03-01", datetime(2020, 3, 1, 23, 59, 59, 999_999)),
        ("2020-03-01T12:00", datetime(2020, 3, 1, 12)),
        ("2020-03-01T12:00:00+02:00", datetime(2020, 3, 1, 10)),
        ("2020-03-01T12:00:00Z", datetime(2020, 3, 1, 12)),
    ],
)
def test_a_date_means_its_end_and_a_time_is_utc(text: str, expected: datetime | None) -> None:
    assert parse_as_of(text) == expected


def test_a_snapshot_keeps_its_export(store_path: Path, tmp_path: Path) -> None:
    named = answer("snapshot", "v1", "--store", store_path)
    assert named["name"] == "v1"
    more = tmp_path / "more"
    more.mkdir()
    (more / "lesions.csv").write_text(
        "lesion_id,patient_id,study_id,study_date,x_mm,y_mm,z_mm,long_axis_mm,short_axis_mm\n"
        "new,P00,P00-S9,2022-01-01,1,2,3,10,8\n"
    )
    answer("ingest", more, "--store", store_path, "--workers", 1)
    words = ("export", "--level", "lesion", "--store", store_path, "--out", tmp_path / "l.csv")
    assert answer(*words)["rows"] == 161
    assert answer(*words, "--snapshot", "v1")["rows"] == 160


def test_export_where_nothing_can_be_written_is_an_error(store_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "no" / "such" / "l.csv"
    line = error_of("export", "--level", "lesion", "--store", store_path, "--out", out)
    assert "cannot write" in line


def test_status_check_encoders_and_doctor_answer(store_path: Path) -> None:
    status = answer("status", "--store", store_path)
    assert (status["counts"]["lesion"], status["commit"]) == (160, 4)
    assert answer("check", "--store", store_path)["problems"] == []
    assert answer("check", "--repair", "--store", store_path)["repaired"] == 0
    stored = answer("encoders", "--store", store_path)["encoders"]
    assert stored[0]["vectors"] == 160
    assert {encoder["name"] for encoder in answer("encoders")["encoders"]} >= {"measurement"}
    findings = answer("doctor", "--store", store_path)["findings"]
    assert all(finding["is_well"] for finding in findings)


def test_tables_for_people_are_tab_separated_off_a_terminal(store_path: Path) -> None:
    result = tumorbase("similar", "P03-0-1", "--level", "lesion", "--store", store_path, "-k", 2)
    header, first, _ = result.stdout.splitlines()
    assert header.split("\t")[:3] == ["id", "patient_id", "distance"]
    assert len(first.split("\t")) == len(header.split("\t"))
    assert "commit 4" in result.stderr


def test_published_folds_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "splits_10.csv").write_text(",train,val\n0,c,d\n")
    (tmp_path / "splits_2.csv").write_text(",train,val\n0,a,b\n1,c,\n")
    assert read_folds(tmp_path) == ((("a", "c"), ("b",)), (("c",), ("d",)))


@pytest.mark.parametrize("content", ["a,b\n1,2\n", ",train,val\n", "train,val\nx,\n"])
def test_folds_without_patients_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "splits_0.csv").write_text(content)
    with pytest.raises(InvalidRequest, match=r"splits_0\.csv"):
        read_folds(tmp_path)


def test_a_folder_without_folds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="splits_0"):
        read_folds(tmp_path)


def test_an_interrupted_command_ends_with_one_line(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(client: LocalClient) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalClient, "status", interrupt)
    result = tumorbase("status", "--store", store_path)
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1
    assert "interrupted" in result.stderr


def test_a_table_on_a_terminal_keeps_to_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    columns = ["id", "distance", *(f"column_{number}" for number in range(9))]
    print_table(columns, [["L1", 0.25, *range(9)]], always=2)
    drawn, note = capsys.readouterr()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", drawn)  # without bold
    assert "column_0" in shown
    assert max(map(len, shown.splitlines())) <= 40
    assert "column_8" not in shown
    assert "column_8" in note


def test_encoders_of_slides_and_profiles_count_as_installed() -> None:
    assert all(map(is_installed, ("gene-pca", "gene-signatures", "stain-texture-pooled")))
    assert not is_installed("some-network-pooled")
