"""Each connected component of a mask is a lesion, measured in LPS millimetres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tumorbase.ingest.mask_lesions import (
    LabelMask,
    SeriesIdentity,
    bounding_box_mm,
    find_lesions,
    lesion_table,
)
from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

# 2 mm along z, 1 mm in the plane; voxel (0, 0, 0) at (-10, 20, 300) mm.
AFFINE = np.array([[1.0, 0, 0, -10], [0, 1, 0, 20], [0, 0, 2, 300], [0, 0, 0, 1]])
GRID = Grid((8, 12, 12), AFFINE)
IDENTITY = SeriesIdentity("P1", "S1", "P1/S1")


def _mask(*voxels: tuple[int, int, int], label: int = 1) -> np.ndarray:
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    for voxel in voxels:
        labels[voxel] = label
    return labels


def _find(labels: np.ndarray, min_mm3: float = 0.0, region: str = "primary") -> list:
    return find_lesions([LabelMask("mask", region, labels)], GRID, "P1/S1", min_mm3)


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    assert [one.voxels for one in _find(_mask((1, 1, 1), (2, 2, 2)))] == [2]
    assert [one.voxels for one in _find(_mask((1, 1, 1), (1, 1, 3)))] == [1, 1]


def test_touching_labels_are_two_lesions() -> None:
    labels = _mask((1, 1, 1), (1, 1, 2)) + _mask((1, 1, 3), label=2)
    assert [one.voxels for one in _find(labels)] == [2, 1]


def test_ids_count_by_volume_and_then_by_position() -> None:
    labels = _mask((6, 1, 1), (1, 1, 1), (1, 5, 5), (1, 5, 6))
    lesions = _find(labels)
    assert [one.lesion_id for one in lesions] == [f"P1/S1/primary-{n}" for n in (1, 2, 3)]
    assert [one.box[0].start for one in lesions] == [1, 1, 6]
    assert [one.voxels for one in lesions] == [2, 1, 1]


def test_each_region_counts_for_itself() -> None:
    masks = [
        LabelMask("label", "primary", _mask((1, 1, 1))),
        LabelMask("node", "node", _mask((1, 5, 5), (1, 5, 6))),
    ]
    lesions = find_lesions(masks, GRID, "P1/S1", 0.0)
    assert [one.lesion_id for one in lesions] == ["P1/S1/node-1", "P1/S1/primary-1"]


def test_components_below_the_floor_are_left_out() -> None:
    labels = _mask((1, 1, 1), (5, 5, 5), (5, 5, 6), (5, 5, 7), (5, 5, 8), (5, 5, 9))
    assert [one.voxels for one in _find(labels, min_mm3=10.0)] == [5]
    assert [one.voxels for one in _find(labels, min_mm3=10.1)] == []


def test_a_lesion_drawn_again_in_another_mask_is_one_the_larger() -> None:
    masks = [
        LabelMask("now", "primary", _mask(*((2, 2, x) for x in range(6)), (6, 6, 6))),
        LabelMask("then", "primary", _mask(*((2, 2, x) for x in range(4, 8)))),  # half of it
        LabelMask("beside", "primary", _mask(*((2, 2, x) for x in range(7, 10)), (2, 2, 5))),
        LabelMask("node", "node", _mask((6, 6, 6))),
    ]
    lesions = find_lesions(masks, GRID, "P1/S1", 0.0)
    assert [(one.region, one.voxels) for one in lesions] == [
        ("node", 1), ("primary", 6), ("primary", 3)
    ]  # fmt: skip


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(BadInput, match="empty mask"):
        _find(_mask())


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(BadInput, match=r"shape \(8, 12, 11\) over an image of \(8, 12, 12\)"):
        _find(_mask()[..., :-1])


def test_a_row_says_where_the_lesion_lies_and_how_large_it_is() -> None:
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[2:5, 3:7, 4:7] = 1  # z 304..308, y 23..26, x -6..-4
    rows = lesion_table(_find(labels), GRID, IDENTITY)
    assert rows.schema == METADATA["lesion"]
    (row,) = rows.to_pylist()
    assert (row["x_mm"], row["y_mm"], row["z_mm"]) == (-5.0, 24.5, 306.0)
    assert (row["x_min_mm"], row["y_min_mm"], row["z_min_mm"]) == (-6.5, 22.5, 303.0)
    assert (row["x_max_mm"], row["y_max_mm"], row["z_max_mm"]) == (-3.5, 26.5, 309.0)
    assert row["volume_mm3"] == 3 * 4 * 3 * 2.0
    assert row["long_axis_mm"] == pytest.approx(5.0)  # the diagonal of 4 mm by 3 mm
    assert row["series_id"] == "P1/S1"
    assert row["event_time"] is None


def test_the_box_of_an_oblique_grid_holds_all_its_corners() -> None:
    turned = AFFINE.copy()
    turned[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    grid = Grid(GRID.shape, turned)
    low, high = bounding_box_mm((slice(0, 1), slice(0, 2), slice(0, 2)), grid)
    corners = grid.to_lps(np.array([[z, y, x] for z in (-0.5, 0.5) for y in (-0.5, 1.5)
                                    for x in (-0.5, 1.5)]))  # fmt: skip
    np.testing.assert_allclose(low, corners.min(axis=0))
    np.testing.assert_allclose(high, corners.max(axis=0))


CT_MASKS = [
    ("sts/STS_001/CT_image", "sts/STS_001/CT_mask"),
    ("sts/STS_002/CT_image", "sts/STS_002/CT_mask"),
    ("sts/STS_003/CT_image", "sts/STS_003/CT_mask"),
    ("sts/STS_019/CT_image", "sts/STS_019/CT_mask"),
    ("sts/STS_002/MR_T1_image", "sts/STS_002/MR_T1_mask"),
    ("sts/STS_002/PET_image", "sts/STS_002/PET_mask"),
    ("ibsi_ct_phantom/phantom", "ibsi_ct_phantom/mask"),
    ("ibsi_digital_phantom/phantom", "ibsi_digital_phantom/mask"),
    ("totalsegmentator/example_ct_sm", "totalsegmentator/example_seg"),
    ("totalsegmentator/example_ct_sm", "totalsegmentator/example_seg_fast"),
]


@pytest.mark.parametrize(("image", "mask"), CT_MASKS)
def test_volumes_of_real_lesions_add_up_to_the_mask(shared: Path, image: str, mask: str) -> None:
    folder = shared / "data" / "ct"
    volume = read_volume(folder / f"{image}.nii.gz")
    labels, grid = read_labels(folder / f"{mask}.nii.gz")
    assert grid.matches(volume.grid)
    lesions = find_lesions([LabelMask(mask, "primary", labels)], grid, "series", 0.0)
    expected_mm3 = np.count_nonzero(labels) * np.prod(grid.spacing_mm)
    volumes = lesion_table(lesions, grid, IDENTITY)["volume_mm3"].to_numpy()
    assert volumes.sum() == pytest.approx(expected_mm3, rel=1e-6)


def test_organ_volumes_and_mean_hu_are_those_of_totalsegmentator(shared: Path) -> None:
    folder = shared / "data" / "ct" / "totalsegmentator"
    volume = read_volume(folder / "example_ct_sm.nii.gz")
    labels, grid = read_labels(folder / "example_seg_fast.nii.gz")
    organs = json.loads((folder / "example_seg_fast" / "statistics.json").read_text())
    types = dict(enumerate(organs, start=1))
    lesions = find_lesions([LabelMask("organs", "organ", labels, types)], grid, "series", 0.0)
    sums = {name: np.zeros(2) for name in organs}
    for lesion in lesions:
        inside = volume.voxels[lesion.box][lesion.mask]
        sums[lesion.type] += (inside.size, inside.sum(dtype=np.float64))
    for name, (voxels, total_hu) in sums.items():
        assert voxels * grid.voxel_mm3 == pytest.approx(organs[name]["volume"], abs=1e-3)
        if voxels:
            assert total_hu / voxels == pytest.approx(organs[name]["intensity"], abs=1e-4)
