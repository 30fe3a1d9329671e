"""Figures of the demo page: SVG that follows the page's colour and says what it shows."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tumorbase.query.answers import (
    PatientTracks,
    Receipt,
    StudySum,
    SurvivalCurve,
    Track,
    TrackLesion,
)
from tumorbase.query.risk_groups import RiskGroup, RiskGroups
from tumorbase.server.demo.figures import plot_kaplan_meier, plot_shapes, plot_tracks


def _texts(svg: str) -> list[str]:
    return [(element.text or "").strip() for element in ET.fromstring(svg).iter() if element.text]


@pytest.fixture
def tracks() -> PatientTracks:
    """Two tracks over two studies; the second one has resolved."""
    first = TrackLesion("l1", "S1", "new", 20.0, 15.0, True)
    second = TrackLesion("l2", "S2", "matched", 12.0, 9.0, True)
    gone = TrackLesion("l3", "S1", "new", 11.0, 8.0, False)
    return PatientTracks(
        patient_id="P",
        tracks=(
            Track("P/track-1", "present", "primary", (first, second)),
            Track("P/track-2", "resolved", "primary", (gone,)),
        ),
        sums=(
            StudySum("S1", "2021-01-01", 20.0, "baseline", 20.0, 0),
            StudySum("S2", "2021-03-02", 12.0, "PR", 20.0, 0),
        ),
        receipt=Receipt(1),
    )


def test_tracks_are_named_with_their_responses(tracks):
    svg = plot_tracks(tracks)
    texts = " ".join(_texts(svg))
    assert "1 primary, target" in texts
    assert "2 primary, resolved" in texts
    assert "partial" in texts
    assert "60" in texts  # days


def test_ink_follows_the_colour_of_the_page(tracks):
    svg = plot_tracks(tracks)
    assert "currentColor" in svg
    assert "#010203" not in svg


def test_the_same_figure_has_the_same_text(tracks):
    assert plot_tracks(tracks) == plot_tracks(tracks)


def test_numbers_at_risk_count_who_is_still_observed():
    curve = SurvivalCurve((0.0, 100.0, 300.0), (1.0, 0.5, 0.25))
    bounds = (1.0, 0.4, 0.2)
    groups = tuple(RiskGroup(name, 4, 3, curve, bounds, bounds, 100.0) for name in ("low", "high"))
    svg = plot_kaplan_meier(
        RiskGroups("m", "OS", groups, 4.0, 0.0312, Receipt(1)),
        {"low": np.array([100.0, 200.0, 300.0, 300.0]), "high": np.array([10.0, 10.0, 10.0])},
    )
    texts = _texts(svg)
    assert "log-rank p = 0.031" in texts
    assert "low risk: 4 patients, 3 deaths" in texts
    assert texts.count("4") >= 1
    assert texts.count("3") >= 1


def test_shapes_are_drawn_for_each_class():
    values = {"tumour": np.arange(9.0), "lymphocyte": np.arange(9.0), "stroma": np.arange(9.0)}
    svg = plot_shapes({"area": values, "solidity": values})
    assert _texts(svg).count("lymphocyte") == 2
    assert 'aria-label="Box plots of area, solidity by class of nucleus"' in svg
