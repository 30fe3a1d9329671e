"""Segments of a DICOM SEG come back on the grid of their series."""

from __future__ import annotations

import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from tumorbase.ingest.dicom_seg import read_seg
from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.dicom_tree import plan_dicom
from tumorbase.ingest.nifti import read_labels
from tumorbase.ingest.volume import Grid
from tumorbase.store.errors import BadInput

TUMOUR = ("GTV primary", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm)
NODE = ("lymph node", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.LymphNode)
ORGAN = ("kidney", codes.SCT.Organ, codes.SCT.Kidney)
STRUCTURE = ("Segment_2", codes.SCT.AnatomicalStructure, codes.SCT.Thymus)
UNNAMED = ("Segment_1", codes.SCT.Tissue, codes.SCT.Tissue)
TYPED = ("Segment_3", codes.SCT.Tissue, codes.SCT.LymphNode)


@pytest.fixture
def series(shared: Path) -> list[Path]:
    """The real CT slices of STS_002."""
    return sorted((shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT" / "image").iterdir())


@pytest.fixture
def tumour(shared: Path) -> tuple[np.ndarray, Grid]:
    """The tumour's mask on that CT, bool (z, y, x), from its NIfTI."""
    labels, grid = read_labels(shared / "data" / "ct" / "sts" / "STS_002" / "CT_mask.nii.gz")
    return labels > 0, grid


def _write_seg(
    path: Path,
    series: list[Path],
    masks: list[np.ndarray],
    segments: list[tuple],
    kind: str = "BINARY",
) -> Path:
    """A SEG of the masks (z, y, x), its frames in the order of the files."""
    images = [pydicom.dcmread(file) for file in series]
    order = np.argsort(np.argsort([float(one.ImagePositionPatient[2]) for one in images]))
    algorithm = hd.AlgorithmIdentificationSequence("test", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(number, label, category, kind, "AUTOMATIC", algorithm)
        for number, (label, category, kind) in enumerate(segments, start=1)
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="highdicom|pydicom")
        segmentation = hd.seg.Segmentation(
            source_images=images,
            pixel_array=np.stack([mask[order] for mask in masks], axis=-1).astype(
                np.float32 if kind == "FRACTIONAL" else np.uint8
            ),
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=hd.UID(),
            series_number=2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="tests",
            manufacturer_model_name="tests",
            software_versions="1",
            device_serial_number="1",
        )
        segmentation.save_as(path)
    return path


def test_a_segment_comes_back_as_it_was_written(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    path = _write_seg(tmp_path / "seg.dcm", series, [mask], [TUMOUR])
    (read,) = read_seg(str(path), grid)
    np.testing.assert_array_equal(read.labels, mask)
    assert (read.region, read.types[1]) == ("primary", "GTV primary")


def test_lesions_are_taken_and_organs_left(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    masks = [np.roll(mask, shift, axis=2) for shift in (0, 20, -20)]
    path = _write_seg(tmp_path / "seg.dcm", series, masks, [ORGAN, TUMOUR, NODE])
    read = read_seg(str(path), grid)
    assert [(one.region, one.types[1]) for one in read] == [
        ("primary", "GTV primary"),
        ("node", "lymph node"),
    ]
    np.testing.assert_array_equal(read[1].labels, masks[2])


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([ORGAN, STRUCTURE], []),
        ([ORGAN, STRUCTURE, UNNAMED], [("primary", "Segment_1")]),
        ([ORGAN, UNNAMED, TYPED], [("node", "Segment_3")]),
    ],
)
def test_segments_are_lesions_by_their_type_or_for_want_of_another_meaning(
    series: list[Path],
    tumour: tuple[np.ndarray, Grid],
    tmp_path: Path,
    segments: list[tuple],
    expected: list[tuple],
) -> None:
    mask, grid = tumour
    path = _write_seg(tmp_path / "seg.dcm", series, [mask] * len(segments), segments)
    assert [(one.region, one.types[1]) for one in read_seg(str(path), grid)] == expected


def test_fractions_count_from_one_half(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    values = np.where(mask, 0.6, 0.0)
    values[:, 60:] *= 0.7
    path = _write_seg(tmp_path / "seg.dcm", series, [values], [TUMOUR], "FRACTIONAL")
    (read,) = read_seg(str(path), grid)
    mask[:, 60:] = False
    assert mask.any()
    np.testing.assert_array_equal(read.labels, mask)


def test_segments_of_a_label_map_are_told_apart(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    other = np.roll(mask, 60, axis=2) & ~mask
    masks = [other, mask, np.zeros_like(mask)]
    path = _write_seg(tmp_path / "seg.dcm", series, masks, [ORGAN, TUMOUR, NODE], "LABELMAP")
    tumour_mask, node = read_seg(str(path), grid)
    np.testing.assert_array_equal(tumour_mask.labels, mask)
    assert not node.labels.any()


AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("axes", "place"),
    [
        (AXIAL, lambda n: [1.0, 2.0, round(1.25 * n, 1)]),  # rounded to 0.1 mm
        (AXIAL, lambda n: [1.0, 2.0 + 0.6 * n, 3.0 * n]),  # of a tilted gantry
        (SAGITTAL, lambda n: [10.0 - 2.0 * n, 2.0, 3.0]),
    ],
)
def test_a_seg_is_read_on_slices_wherever_they_lie(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path, axes, place
) -> None:
    moved = [tmp_path / path.name for path in series]
    for number, (path, to) in enumerate(zip(series, moved, strict=True)):
        image = pydicom.dcmread(path)
        image.ImageOrientationPatient, image.ImagePositionPatient = axes, place(number)
        image.save_as(to)
    before, volume = (
        read_series("folder", "series", [str(path) for path in paths]).volume
        for paths in (series, moved)
    )
    path = _write_seg(tmp_path / "seg.dcm", moved, [tumour[0]], [TUMOUR])
    (read,) = read_seg(str(path), volume.grid)
    inside, expected = volume.voxels[read.labels], before.voxels[tumour[0]]
    np.testing.assert_array_equal(np.sort(inside), np.sort(expected))
    if axes is AXIAL:
        np.testing.assert_array_equal(read.labels, tumour[0])


def test_an_empty_segment_is_an_empty_mask(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    masks = [mask, np.zeros_like(mask)]
    path = _write_seg(tmp_path / "seg.dcm", series, masks, [TUMOUR, NODE])
    assert [int(read.labels.sum()) for read in read_seg(str(path), grid)] == [17090, 0]


def test_a_seg_on_another_grid_is_refused(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    path = _write_seg(tmp_path / "seg.dcm", series, [mask], [TUMOUR])
    moved = grid.affine.copy()
    moved[0, 3] += 0.4
    for other in (Grid(grid.shape, moved), Grid((20, 143, 161), grid.affine)):
        with pytest.raises(BadInput, match="on another grid"):
            read_seg(str(path), other)


def test_a_truncated_seg_is_refused(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    mask, grid = tumour
    path = _write_seg(tmp_path / "seg.dcm", series, [mask], [TUMOUR])
    whole = path.read_bytes()
    for part in (0.2, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(BadInput, match=r"truncated|not a valid|no volume"):
            read_seg(str(path), grid)


def test_a_seg_goes_with_the_series_it_references(
    series: list[Path], tumour: tuple[np.ndarray, Grid], tmp_path: Path
) -> None:
    path = _write_seg(tmp_path / "seg.dcm", series, [tumour[0]], [TUMOUR])
    plan = plan_dicom([*series, path])
    (item,) = plan.items
    assert plan.rejected == ()
    assert item.files[48:] == (str(path),)
    assert (item.details["slices"], item.details["rtstructs"]) == (48, 0)
    volume = read_series(item.path, "series", item.files[:48]).volume
    assert volume.grid.matches(tumour[1])
