"""Staged vectors come back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tumorbase.ingest.item import Context
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import EncoderSpec

SPEC = EncoderSpec("toy", "1", "lesion", 3, "", "{}")
IDS = {"lesion_id": ["a", "b"], "patient_id": ["p", "p"]}


def test_staged_rows_come_back_in_the_columns_of_their_level(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    staged = stage(Context(tmp_path), SPEC, [vector_batch(SPEC, IDS, vectors)] * 2)
    table = pa.ipc.open_stream(staged.path).read_all()
    assert table.column_names == ["lesion_id", "patient_id", "vector"]
    assert staged.rows == table.num_rows == 4
    assert table["vector"].to_pylist()[1] == [3.0, 4.0, 5.0]


def test_no_batches_stage_a_file_without_rows(tmp_path: Path) -> None:
    staged = stage(Context(tmp_path), SPEC, [])
    assert pa.ipc.open_stream(staged.path).read_all().num_rows == staged.rows == 0


def test_an_encoder_that_fails_midway_leaves_no_file(tmp_path: Path) -> None:
    def batches():
        yield vector_batch(SPEC, IDS, np.zeros((2, 3), np.float32))
        raise ValueError("cannot encode")

    with pytest.raises(ValueError, match="cannot encode"):
        stage(Context(tmp_path), SPEC, batches())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("vectors", [np.full((2, 3), np.nan), np.zeros((2, 4))])
def test_wrong_vectors_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"finite|need 3 values"):
        vector_batch(SPEC, IDS, vectors.astype(np.float32))


def test_other_columns_than_the_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="need columns"):
        vector_batch(SPEC, {"lesion_id": ["a", "b"]}, np.zeros((2, 3), np.float32))
