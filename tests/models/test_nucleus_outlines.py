"""Outlines of nuclei against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from golden import seeded
from tumorbase.models.nucleus_outlines import outlines
from tumorbase.models.nucleus_shape import measure


def opencv(mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return contours[0][:, 0]


def test_outlines_are_those_of_the_reference(shared):
    golden = np.load(shared / "reference" / "hovernet" / "golden.npz")
    labels = golden["post_a/inst_map"]
    found = outlines(labels, measure(labels))
    assert [len(outline) for outline in found] == golden["post_a/info_contour_len"].tolist()
    np.testing.assert_array_equal(found[0], golden["post_a/info_contour0"])


def test_outlines_are_opencvs_for_pieces_of_any_form():
    random = seeded(0)
    for share in (0.3, 0.55, 0.8):
        mask = random.random((60, 47)) < share
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        found = outlines(labels, measure(labels))
        assert len(found) == count
        for i, outline in enumerate(found):
            np.testing.assert_array_equal(outline, opencv(labels == i + 1))


def test_no_nuclei_have_no_outlines():
    nothing = np.zeros((3, 4), dtype=np.int32)
    assert outlines(nothing, measure(nothing)) == []


def test_of_a_nucleus_in_pieces_the_first_is_outlined():
    labels = np.zeros((6, 6), dtype=np.int32)
    labels[0, 4] = labels[3:5, 1:4] = 7
    (outline,) = outlines(labels, measure(labels))
    assert outline.tolist() == [[4, 0]]
