"""Published TCGA and LUNG1 tables: each of their traps."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snn_weights import save_snn
from tumorbase.ingest.guess import guess_file
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.tcga import DAYS_PER_MONTH, plan_tcga, read_tcga_table
from tumorbase.models.encoders import Runtime
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

HEADER = ",case_id,slide_id,site,is_female,oncotree_code,age,survival_months,censorship,train"
MCAT = f"""{HEADER},A_rnaseq
0,T1,T1-1.svs,X,0,BLCA,63,10,0,1.0,0.5
1,T1,T1-2.svs,X,0,BLCA,63,10,0,1.0,0.5
2,T2,T2-1.svs,X,1,BLCA,,20,1,1.0,-0.5
3,T3,T3-1.svs,X,1,BLCA,70,30,1,0.0,1.5
"""


def read(path: Path, staging: Path, *more: Path) -> ItemRows:
    """The rows of a table, with its signatures if named."""
    files = tuple(str(file) for file in (path, *more))
    rows = read_tcga_table(Item("tcga_table", "table:x", files[0], files), Context(staging))
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    return rows


def outcomes(rows: ItemRows) -> dict[tuple[str, str], tuple[float, bool]]:
    return {
        (row["patient_id"], row["endpoint"]): (row["time_days"], row["is_event"])
        for row in rows.tables["outcome"].to_pylist()
    }


@pytest.fixture
def mcat(tmp_path) -> Path:
    """A table as MCAT's: three cases, the first of two slides."""
    path = tmp_path / "mcat.csv"
    path.write_text(MCAT)
    return path


def test_censorship_1_is_censored_and_0_is_an_event(mcat, tmp_path) -> None:
    assert outcomes(read(mcat, tmp_path)) == {
        ("T1", "OS"): (10 * DAYS_PER_MONTH, True),
        ("T2", "OS"): (20 * DAYS_PER_MONTH, False),
        ("T3", "OS"): (30 * DAYS_PER_MONTH, False),
    }


def test_case_of_several_slides_is_kept_once(mcat, tmp_path) -> None:
    rows = read(mcat, tmp_path)
    assert rows.rejected == []
    assert rows.tables["patient"]["patient_id"].to_pylist() == ["T1", "T2", "T3"]
    assert rows.tables["profile"]["patient_id"].to_pylist() == ["T1", "T2", "T3"]


@pytest.mark.parametrize(
    ("was", "now", "column"),
    [
        ("BLCA,63,10,0,1.0,0.5\n2", "BLCA,63,11,0,1.0,0.5\n2", "survival_months"),
        ("BLCA,63,10,0,1.0,0.5\n2", "BLCA,63,10,0,1.0,0.6\n2", "A_rnaseq"),
    ],
)
def test_slide_that_contradicts_its_case_is_rejected(tmp_path, was, now, column) -> None:
    path = tmp_path / "t.csv"
    path.write_text(MCAT.replace(was, now))
    rows = read(path, tmp_path)
    assert [found.reason for found in rows.rejected] == [
        f"line 3: differs in {column} from line 2 of the same case"
    ]
    assert len(outcomes(rows)) == 3


def test_what_follows_from_the_outcome_or_the_authors_split_is_no_fact(mcat, tmp_path) -> None:
    facts = read(mcat, tmp_path).tables["fact"]
    assert set(facts["name"].to_pylist()) == {"age", "is_female", "site", "oncotree_code"}
    ages = facts.to_pandas().query("name == 'age'")
    assert ages.set_index("patient_id")["number"].to_dict() == {"T1": 63.0, "T3": 70.0}


@pytest.mark.parametrize("member", ["../dataset_csv/t.csv.zip", "/etc/t.csv", "t.csv"])
def test_archive_member_is_read_whatever_its_name(tmp_path, member: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "t.csv.zip", "w") as archive:
        archive.writestr(member, MCAT)
    before = sorted(tmp_path.rglob("*"))
    assert len(outcomes(read(folder / "t.csv.zip", tmp_path / "a"))) == 3
    written = set(tmp_path.rglob("*")) - set(before)
    assert {path.suffix for path in written} <= {".arrows"}


def test_archive_of_two_tables_is_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("a.csv", MCAT)
        archive.writestr("b.csv", MCAT)
    with pytest.raises(BadInput, match="an archive of one table, got 2"):
        read(tmp_path / "t.csv.zip", tmp_path)


def test_broken_archive_is_refused(tmp_path) -> None:
    (tmp_path / "t.csv.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadInput, match="cannot be read as a zip archive"):
        read(tmp_path / "t.csv.zip", tmp_path)


@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 99)], ids=["password", "method"])
def test_archive_with_a_password_or_of_an_unknown_method_is_refused(
    tmp_path, offset: int, value: int
) -> None:
    path = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.csv", MCAT)
    data = bytearray(path.read_bytes())
    data[offset] = value  # in the member's own header, and two bytes on in the directory
    data[data.index(b"PK\x01\x02") + offset + 2] = value
    path.write_bytes(data)
    with pytest.raises(BadInput, match="cannot be read as a zip archive"):
        read(path, tmp_path)
    assert guess_file(path) == "tcga"  # not passed over in silence


def test_table_of_another_kind_is_refused(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    with pytest.raises(BadInput, match="expected a TCGA or LUNG1 table, got the columns x, y"):
        read(tmp_path / "t.csv", tmp_path)


@pytest.mark.parametrize(
    ("name", "cases", "deaths", "columns", "ages"),
    [("blca", 373, 169, 3062, 373), ("luad", 453, 158, 3096, 443)],
)
def test_mcat_cohorts_come_in_whole(
    shared, tmp_path, name: str, cases: int, deaths: int, columns: int, ages: int
) -> None:
    folder = shared / "data/genomics/mcat"
    path = folder / f"datasets_csv_sig/tcga_{name}_all_clean.csv.zip"
    rows = read(path, tmp_path, folder / "signatures.csv")
    assert rows.rejected == []
    found = outcomes(rows)
    assert len(found) == cases
    assert sum(is_event for _, is_event in found.values()) == deaths
    assert rows.tables["profile"].num_rows == cases
    assert len(rows.tables["panel"]["columns"][0]) == columns
    assert rows.tables["fact"]["name"].to_pylist().count("age") == ages
    (vectors,) = rows.vectors
    assert (vectors.spec.name, vectors.rows, vectors.spec.dim) == ("gene-signatures", cases, 18)


def test_survpath_has_three_endpoints(shared, tmp_path) -> None:
    path = shared / "data/genomics/survpath/metadata/tcga_blca.csv"
    rows = read(path, tmp_path)
    source = pd.read_csv(path).drop_duplicates("case_id").set_index("case_id")
    found = outcomes(rows)
    assert len(found) == 3 * len(source)
    for endpoint, suffix in (("OS", ""), ("DSS", "_dss"), ("PFI", "_pfi")):
        events = sum(found[case, endpoint][1] for case in source.index)
        assert events == (source[f"censorship{suffix}"] == 0).sum()
    days, _ = found["TCGA-2F-A9KO", "PFI"]
    assert days == pytest.approx(21.7 * DAYS_PER_MONTH)


def test_stages_come_in_without_the_missing_ones(shared, tmp_path) -> None:
    path = shared / "data/genomics/survpath/clinical/tcga_blca_clinical.csv"
    rows = read(path, tmp_path)
    assert rows.rejected == []
    facts = rows.tables["fact"].to_pandas()
    assert set(facts.query("name == 'stage'")["text"]) == {"0", "I", "II", "III", "IV"}
    assert rows.tables["patient"].num_rows == pd.read_csv(path)["case_id"].nunique()


def test_expression_names_the_case_in_its_unnamed_column(shared, tmp_path) -> None:
    rows = read(shared / "data/genomics/survpath/rna_xena/blca_rna_clean.csv", tmp_path)
    assert rows.tables["profile"].num_rows == 360
    (panel,) = rows.tables["panel"]["columns"].to_pylist()
    assert len(panel) == 1577
    assert panel[0] == "FMO2_rnaseq"
    first = rows.tables["profile"].slice(0, 1).to_pylist()[0]
    assert first["patient_id"] == "TCGA-MV-A51V"
    assert first["measured"][0] == pytest.approx(-1.9379)
    assert np.isfinite(first["measured"]).all()


def test_lung1_has_days_and_deaths_in_the_other_sense(shared, tmp_path) -> None:
    path = shared / "data/clinical/lung1_annotations.csv"
    rows = read(path, tmp_path)
    source = pd.read_csv(path).set_index("PatientID")
    found = outcomes(rows)
    assert rows.rejected == []
    assert found["LUNG1-001", "OS"] == (2165.0, True)
    assert sum(is_event for _, is_event in found.values()) == source["deadstatus.event"].sum()
    facts = rows.tables["fact"].to_pandas()
    assert (facts["name"] == "age").sum() == 421 - 22
    assert (facts["name"] == "Histology").sum() == 421 - 42
    assert "survival" not in set(facts["name"])


def test_plan_takes_tables_with_their_signatures_and_leaves_folds(shared) -> None:
    planned = plan_tcga([shared / "data/genomics/mcat"])
    assert [item.key for item in planned.items] == [
        "table:datasets_csv_sig/tcga_blca_all_clean.csv.zip",
        "table:datasets_csv_sig/tcga_luad_all_clean.csv.zip",
    ]
    assert {Path(item.files[1]).name for item in planned.items} == {"signatures.csv"}
    assert planned.rejected == ()


def test_cases_of_another_panel_than_a_networks_go_without_its_vectors(mcat, tmp_path) -> None:
    save_snn(tmp_path, ["MYC_rnaseq"])
    context = Context(tmp_path, ("snn",), Runtime(weights=tmp_path))
    rows = read_tcga_table(Item("tcga_table", "table:x", str(mcat), (str(mcat),)), context)
    assert rows.tables["profile"].num_rows == 3
    assert [found.reason for found in rows.rejected] == [
        "has no vectors of snn: expected at least half of the 1 columns of snn, got 0"
    ]
