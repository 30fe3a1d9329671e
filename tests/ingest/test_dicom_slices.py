"""Enhanced multi-frame images hold the slices that single files would."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.dicom_tree import plan_dicom
from tumorbase.ingest.volume import Volume
from tumorbase.store.errors import BadInput

ROLLED = 5


@pytest.fixture(scope="module")
def slices(shared: Path) -> list[Path]:
    """Twelve real CT slices, 3.27 mm apart."""
    folder = shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT" / "image"
    return sorted(folder.iterdir())[4:16]


@pytest.fixture(scope="module")
def converted(slices: list[Path]) -> Dataset:
    """These slices as one enhanced image, its frames rolled by `ROLLED` from their order in space.

    Its rescale slope and intercept are stated once for all frames.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="highdicom|pydicom")
        image: Dataset = hd.legacy.LegacyConvertedEnhancedCTImage(
            legacy_datasets=[pydicom.dcmread(path) for path in slices],
            series_instance_uid=generate_uid(entropy_srcs=["enhanced"]),
            series_number=2,
            sop_instance_uid=generate_uid(entropy_srcs=["enhanced image"]),
            instance_number=1,
        )
    assert "PixelValueTransformationSequence" in image.SharedFunctionalGroupsSequence[0]
    frames = sorted(
        zip(image.PerFrameFunctionalGroupsSequence, image.pixel_array, strict=True),
        key=lambda pair: pair[0].PlanePositionSequence[0].ImagePositionPatient[2],
    )
    frames = [*frames[-ROLLED:], *frames[:-ROLLED]]
    image.PerFrameFunctionalGroupsSequence = [groups for groups, _ in frames]
    image.PixelData = np.stack([pixels for _, pixels in frames]).tobytes()
    return image


@pytest.fixture
def enhanced(converted: Dataset, tmp_path: Path) -> Path:
    """That image as a file of its own."""
    converted.save_as(tmp_path / "enhanced.dcm")
    return tmp_path / "enhanced.dcm"


def change(path: Path, change_it: Callable[[Dataset], None], to: Path | None = None) -> Path:
    dataset = pydicom.dcmread(path)
    change_it(dataset)
    dataset.save_as(to or path)
    return to or path


def volume(*paths: Path) -> Volume:
    return read_series("folder", "1.2.3", [str(path) for path in paths]).volume


def test_frames_make_the_volume_of_single_slices(slices: list[Path], enhanced: Path) -> None:
    single, multiple = volume(*slices), volume(enhanced)
    assert multiple.grid.matches(single.grid)
    np.testing.assert_array_equal(multiple.voxels, single.voxels)
    (item,) = plan_dicom([enhanced]).items
    assert (item.kind, item.details["slices"], item.details["modality"]) == (
        "dicom_series", 1, "CT"
    )  # fmt: skip


def test_each_frame_has_its_own_rescale_slope(slices: list[Path], enhanced: Path) -> None:
    def scale(dataset: Dataset) -> None:
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            own = Dataset()
            own.RescaleSlope, own.RescaleIntercept = number + 1, 7
            frame.PixelValueTransformationSequence = [own]

    found = volume(change(enhanced, scale)).voxels
    slopes = np.roll(np.arange(1, 13), -ROLLED)[:, None, None]  # in the order of space
    np.testing.assert_array_equal(found, volume(*slices).voxels * slopes + 7)


def test_a_gantry_tilt_is_kept(enhanced: Path) -> None:
    def tilt(dataset: Dataset) -> None:
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            position[1] = float(position[1]) + 0.3 * float(position[2])

    grid = volume(change(enhanced, tilt)).grid
    np.testing.assert_allclose(grid.affine[:3, 2], (0, 0.3 * 3.27, 3.27), atol=1e-3)


def test_a_missing_frame_is_refused_with_its_place(enhanced: Path) -> None:
    def leave_out(dataset: Dataset) -> None:
        frames = dataset.pixel_array
        del dataset.PerFrameFunctionalGroupsSequence[2]
        dataset.NumberOfFrames = 11
        dataset.PixelData = np.delete(frames, 2, axis=0).tobytes()

    with pytest.raises(BadInput, match=r"1 slice\(s\) missing between"):
        volume(change(enhanced, leave_out))


def test_two_images_over_time_are_refused(enhanced: Path) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    later = change(enhanced, rename, enhanced.with_name("later.dcm"))
    with pytest.raises(BadInput, match="or a repeated acquisition"):
        volume(enhanced, later)


def test_a_copy_is_left_out(enhanced: Path) -> None:
    copy = enhanced.with_name("z.dcm")
    copy.write_bytes(enhanced.read_bytes())
    series = read_series("folder", "1.2.3", [str(enhanced), str(copy)])
    assert [refused.path for refused in series.duplicates] == [str(copy)]
    assert series.paths == (str(enhanced),)


def _fewer_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[-1]


def _no_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence


def _unplaced(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_fewer_groups, "functional groups of 12 frames, got those of 11"),
        (_no_groups, "functional groups of each, got 12 frames"),
        (_unplaced, "ImagePositionPatient missing"),
    ],
)
def test_frames_without_their_place_are_refused(
    enhanced: Path, damage: Callable[[Dataset], None], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason) as refused:
        volume(change(enhanced, damage))
    assert refused.value.path == str(enhanced)
