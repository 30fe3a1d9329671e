"""Every kind and every source that is listed can be read and planned."""

from __future__ import annotations

import pytest

from tumorbase.ingest.readers import PLANNERS, READERS, planner_of, reader_of


@pytest.mark.parametrize("kind", READERS)
def test_every_kind_has_its_reader(kind: str) -> None:
    assert callable(reader_of(kind))


@pytest.mark.parametrize("source", PLANNERS)
def test_every_source_has_its_planner(source: str) -> None:
    assert callable(planner_of(source))
