"""Names of a diagnostic network's classes come from the published file, in the outputs' order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tumorbase.models.disorder_names import FILE, read_disorder_names
from tumorbase.models.weights import FOLDER_VARIABLE, UnusableWeights


def test_names_come_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"Stroke": 2, "Normal": 0, "Müllerian anomaly": 1}))
    assert read_disorder_names(tmp_path, 3) == ("Normal", "Müllerian anomaly", "Stroke")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"Normal": 0}', "a name for each output from 0 to 1, got 1 names"),
        ('{"Normal": 0, "Stroke": 2}', "a name for each output from 0 to 1, got 2 names"),
        ('["Normal", "Stroke"]', "expected JSON, name to output"),
        ("<html>", "expected JSON, name to output"),
        ('{"Normal": 0, "Stroke": "1"}', "expected JSON, name to output"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UnusableWeights, match=message) as refused:
        read_disorder_names(tmp_path, 2)
    assert str(tmp_path / FILE) in str(refused.value)


def test_a_file_that_is_not_there_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(UnusableWeights, match=f"put {FILE} into {tmp_path}"):
        read_disorder_names(tmp_path, 2)
