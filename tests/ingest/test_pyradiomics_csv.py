"""Tables of pyradiomics features, upright and transposed."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.pyradiomics_csv import plan_pyradiomics, read_pyradiomics_table
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

HEADER = (
    "Patient,Image,Mask,diagnostics_Mask-original_CenterOfMass,original_shape_MeshVolume,"
    "original_shape_Maximum2DDiameterSlice,wavelet-LLH_glcm_Contrast"
)
UPRIGHT = f"""{HEADER}
P1,a.nrrd,a_mask.nrrd,"(1.5, -2.0, 3.0)",100.5,12.5,0.25
P1,a.nrrd,b_mask.nrrd,,50,6,0.5
P2,c.nrrd,c_mask.nrrd,"(4, 5, 6)",10,3,0.75
"""


def read(path: Path, staging: Path, known: frozenset[str] | None = None) -> ItemRows:
    item = Item("pyradiomics_table", "table:x", str(path), (str(path),))
    rows = read_pyradiomics_table(item, Context(staging, known_patients=known))
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    return rows


def staged(path: str) -> pa.Table:
    with pa.OSFile(path) as source:
        return pa.ipc.open_stream(source).read_all()


@pytest.fixture
def upright(tmp_path) -> Path:
    """A row a case: two lesions of P1 and one of P2."""
    (tmp_path / "features.csv").write_text(UPRIGHT)
    return tmp_path / "features.csv"


def test_rows_become_lesions_with_their_measures(upright, tmp_path) -> None:
    rows = read(upright, tmp_path)
    first, second, third = rows.tables["lesion"].to_pylist()
    assert first["lesion_id"] == "features/a_mask.nrrd"
    assert (first["patient_id"], third["patient_id"]) == ("P1", "P2")
    assert (first["x_mm"], first["y_mm"], first["z_mm"]) == (1.5, -2.0, 3.0)
    assert second["x_mm"] is None
    assert (first["volume_mm3"], first["long_axis_mm"]) == (100.5, 12.5)
    assert rows.rejected == []


def test_features_are_stored_raw_under_an_encoder_of_their_names(upright, tmp_path) -> None:
    (vectors,) = read(upright, tmp_path).vectors
    assert vectors.spec.is_standardised
    assert vectors.spec.name.startswith("pyradiomics-")
    assert vectors.spec.feature_names == (
        "original_shape_MeshVolume",
        "original_shape_Maximum2DDiameterSlice",
        "wavelet-LLH_glcm_Contrast",
    )
    assert staged(vectors.path)["vector"].to_pylist()[1] == [50.0, 6.0, 0.5]
    upright.write_text(UPRIGHT.replace("glcm_Contrast", "glcm_Id"))
    assert read(upright, tmp_path).vectors[0].spec.name != vectors.spec.name


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        ("0.5\n", "nan\n", "line 3: wavelet-LLH_glcm_Contrast must be a finite number, got 'nan'"),
        ("0.5\n", "\n", "line 3: wavelet-LLH_glcm_Contrast must be a finite number, got ''"),
        (
            "0.5\n",
            "1e39\n",
            "line 3: wavelet-LLH_glcm_Contrast must be at most 1e+18 by size, got '1e39'",
        ),
        ("b_mask", "a_mask", "line 3: duplicate case, first in line 2"),
        ("P1,a.nrrd,b", "P9,a.nrrd,b", "line 3: Patient 'P9' is not in patients.csv"),
    ],
)
def test_bad_case_is_rejected_and_the_others_stay(tmp_path, was, now, reason) -> None:
    (tmp_path / "features.csv").write_text(UPRIGHT.replace(was, now, 1))
    rows = read(tmp_path / "features.csv", tmp_path, frozenset({"P1", "P2"}))
    assert [found.reason for found in rows.rejected] == [reason]
    assert rows.tables["lesion"].num_rows == rows.vectors[0].rows == 2


def test_transposed_table_has_a_case_a_column(shared, tmp_path) -> None:
    path = shared / "data/radiomics/pyradiomics/baseline_shape.csv"
    rows = read(path, tmp_path)
    source = pd.read_csv(path, index_col="featureName")
    lesions = rows.tables["lesion"].to_pandas().set_index("lesion_id")
    assert set(lesions.index) == {f"baseline_shape/{case}" for case in source.columns}
    breast = lesions.loc["baseline_shape/breast1"]
    assert breast["patient_id"] == "breast1"
    assert breast["volume_mm3"] == pytest.approx(
        float(source.loc["original_shape_MeshVolume", "breast1"])
    )
    resampled = lesions.loc["baseline_shape/breast1_resampling"]
    centre = source.loc["diagnostics_Mask-original_CenterOfMass", "breast1_resampling"]
    np.testing.assert_allclose(
        resampled[["x_mm", "y_mm", "z_mm"]].to_numpy(float), np.array(ast.literal_eval(centre))
    )


def test_cases_of_other_settings_have_other_encoders(shared, tmp_path) -> None:
    rows = read(shared / "data/radiomics/pyradiomics/baseline_firstorder.csv", tmp_path)
    assert len({vectors.spec.name for vectors in rows.vectors}) == 1
    ids = [vectors.spec.encoder_id for vectors in rows.vectors]
    assert len(set(ids)) == len(ids) > 1
    assert sum(vectors.rows for vectors in rows.vectors) == rows.tables["lesion"].num_rows


@pytest.mark.parametrize("path", ["baseline_glcm", "baseline_shape", "baseline_shape2D"])
def test_all_baselines_come_in_whole(shared, tmp_path, path: str) -> None:
    rows = read(shared / f"data/radiomics/pyradiomics/{path}.csv", tmp_path)
    assert rows.rejected == []
    assert rows.tables["lesion"].num_rows > 0


def test_table_without_features_or_cases_is_refused(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Patient,Mask\nP1,m\n")
    with pytest.raises(BadInput, match="expected features such as"):
        read(path, tmp_path)
    path.write_text("original_shape_MeshVolume\n1\n")
    with pytest.raises(BadInput, match="lacks a column of cases"):
        read(path, tmp_path)


def test_plan_takes_the_tables_of_features(shared) -> None:
    planned = plan_pyradiomics([shared / "data/radiomics"])
    assert len(planned.items) == 8
    assert planned.rejected == ()
