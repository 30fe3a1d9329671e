"""A lesion measured by hand is the drawn one in which its point lies."""

from __future__ import annotations

import numpy as np
import pytest

from tumorbase.models.measured_lesions import DrawnLesions, MeasuredLesions, match_measured

NAN = np.nan


def measured(*rows: tuple[float, float, str]) -> MeasuredLesions:
    """Lesions at (x, 0, 0), as (x, long axis, region)."""
    x, axes, regions = zip(*rows, strict=True)
    return MeasuredLesions(np.array([[each, 0.0, 0.0] for each in x]), np.array(axes), regions)


def drawn(*rows: tuple[float, float, str]) -> DrawnLesions:
    """Balls at (x, 0, 0), as (x, diameter, region)."""
    x, axes, regions = (np.array(column) for column in zip(*rows, strict=True))
    middle = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    box = np.stack([middle - axes[:, None] / 2, middle + axes[:, None] / 2], axis=1)
    return DrawnLesions(box, axes, tuple(regions.tolist()))


@pytest.mark.parametrize(("x_mm", "is_same"), [(0, True), (-9, True), (14.9, True), (15.1, False)])
def test_a_point_in_or_near_the_box_is_of_the_lesion(x_mm, is_same):
    found = match_measured(measured((x_mm, 20.0, "liver")), drawn((0.0, 20.0, "liver")))
    assert found == (((0, 0),) if is_same else ())


def test_each_is_one_other_and_the_nearest_by_size():
    """The point at 28 lies in both boxes: deep in the small lesion, at the edge of the large."""
    found = match_measured(
        measured((28.0, 12.0, "liver"), (3.0, 50.0, "liver"), (4.0, 50.0, "liver")),
        drawn((0.0, 60.0, "liver"), (30.0, 12.0, "liver")),
    )
    assert found == ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("long_mm", "drawn_mm", "is_same"),
    [
        (20.0, 61.0, False),  # a small lesion in the box of a large one
        (20.0, 59.0, True),
        (60.0, 8.0, True),  # of which only a part was drawn
        (0.0, 14.0, True),  # gone, says the reader; what is left was drawn
        (0.0, 16.0, False),
        (NAN, 60.0, True),
    ],
)
def test_a_drawn_lesion_much_larger_than_measured_is_another(long_mm, drawn_mm, is_same):
    found = match_measured(measured((0.0, long_mm, "liver")), drawn((0.0, drawn_mm, "liver")))
    assert bool(found) == is_same


@pytest.mark.parametrize(
    ("region", "drawn_region", "is_same"),
    [
        ("primary", "node", True),  # lesions.csv says so of a row without a type
        ("node", "primary", False),
        ("node", "node", True),
        ("liver", "primary", True),
        ("liver", "node", False),
    ],
)
def test_regions_must_agree_where_the_reader_states_one(region, drawn_region, is_same):
    found = match_measured(measured((0.0, 20.0, region)), drawn((0.0, 20.0, drawn_region)))
    assert bool(found) == is_same


def test_without_a_place_size_tells_among_what_is_left():
    found = match_measured(
        measured(
            (NAN, 21.0, "liver"), (NAN, 40.0, "liver"), (0.0, 20.0, "liver"), (NAN, 0.0, "liver")
        ),
        drawn((0.0, 21.0, "liver"), (100.0, 30.0, "liver"), (200.0, 6.0, "liver")),
    )
    assert found == ((1, 1), (2, 0))
