"""Every bad input, one cohort: each is named with its reason, the good beside it come in whole."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tumorbase.server.cli import main

# What is wrong, and words of the reason that must be given for a path with that name in it.
EXPECTED = [
    ("radiology/NIFTI-CUT", "not a whole NIfTI file"),
    ("radiology/MASK-SHAPE", "shape"),
    ("radiology/MASK-GRID", "grid"),
    ("radiology/MASK-EMPTY", "empty|no label"),
    ("radiology/VOXELS-NAN", "finite"),
    ("radiology/VOXELS-INFINITE", "finite"),
    ("radiology/SPACING-ZERO", "spacing must be positive"),
    ("radiology/SPACING-NEGATIVE", "spacing must be positive"),
    ("radiology/NIFTI-NOTHING", "empty"),
    ("radiology/DICOM-CUT", "truncated"),
    ("radiology/DICOM-GAP", "missing"),
    ("radiology/DICOM-MIXED", "mixed orientation"),
    ("radiology/DICOM-TWO", "two series of one UID"),
    ("radiology/DICOM-SPACING", "PixelSpacing must be two positive"),
    ("radiology/OUTSIDE", "leaves the cohort folder"),
    ("slides/NO-MPP.png", "mpp"),
    ("slides/NOTHING.svs", "empty"),
    ("slides/NO-SLIDE.docx", "wrong suffix"),
    ("slides/NO-SLIDE.svs", "OpenSlide|slide"),
    ("slides/OUTSIDE.png", "leaves the cohort folder"),
    ("genomics/nothing.csv", "empty"),
    ("genomics/nan.csv", "finite|number"),
    ("patients.csv", "line 5: .*patient"),  # the second row of TWICE
    ("outcomes.csv", "'UNKNOWN' is not in patients.csv"),
    ("outcomes.csv", "event must be 0 or 1, got '2'"),
    ("outcomes.csv", "time_days must be .* at least 0, got '-3'"),
    ("studies.csv", "study_date .*'yesterday'"),
    ("diagnoses.csv", "expected UTF-8"),
]


def _text(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))


def _nifti(folder: Path, change: Callable[[np.ndarray, np.ndarray], None] | None = None) -> Path:
    """A study of CT_img.nii and label.nii, float32; `change` may alter image and mask first."""
    folder.mkdir(parents=True)
    image, mask = np.full((24, 24, 12), 40, np.float32), np.zeros((24, 24, 12), np.uint8)
    image += np.random.default_rng(0).normal(0, 9, image.shape).astype(np.float32)
    mask[8:14, 8:16, 4:8] = 1
    if change:
        change(image, mask)
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / "CT_img.nii")
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "label.nii")
    return folder


def _mask_only(folder: Path, mask: np.ndarray, origin_mm: float = 0) -> None:
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    affine[0, 3] = origin_mm
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "label.nii")


def _spacing(folder: Path, spacing_mm: float) -> None:
    """Write a spacing into the header's bytes, where nibabel would not let it."""
    file = folder / "CT_img.nii"
    data = bytearray(file.read_bytes())
    data[80:84] = np.float32(spacing_mm).tobytes()  # pixdim[1]
    file.write_bytes(data)


def _set_nan(image: np.ndarray, _: np.ndarray) -> None:
    image[3, 3, 3] = np.nan


def _set_infinite(image: np.ndarray, _: np.ndarray) -> None:
    image[3, 3, 3] = np.inf


def _set_empty(_: np.ndarray, mask: np.ndarray) -> None:
    mask[:] = 0


def _dicom(folder: Path, change: Callable[[int, Dataset], None] | None = None) -> Path:
    """A CT of six slices, 3 mm apart; `change` may alter each by its index first."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(6):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = FileDataset(folder / f"{index}.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.FrameOfReferenceUID = frame
        slice_.PatientID, slice_.PatientName, slice_.Modality = "someone", "Some^One", "CT"
        slice_.ImagePositionPatient = [0, 0, 3 * index]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [2, 2], 3
        slice_.Rows = slice_.Columns = 16
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation, slice_.SamplesPerPixel = 15, 1, 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.PixelData = np.full((16, 16), 1000 + index, np.int16).tobytes()
        if change:
            change(index, slice_)
        slice_.save_as(folder / f"{index}.dcm")
    return folder


def _turn_last(index: int, slice_: Dataset) -> None:
    if index == 5:
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _another_matrix(index: int, slice_: Dataset) -> None:
    if index > 2:
        slice_.Rows = 8
        slice_.PixelData = slice_.PixelData[: 8 * 16 * 2]


def _no_spacing(_: int, slice_: Dataset) -> None:
    slice_.PixelSpacing = [0, 2]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])


def _tile(file: Path, mpp: float | None = None) -> None:
    pixels = np.random.default_rng(1).integers(90, 200, (512, 512, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    if mpp is None:
        Image.fromarray(pixels).save(file)
    else:
        per_cm = 10_000 / mpp
        tifffile.imwrite(
            file, pixels, photometric="rgb", tile=(256, 256),
            resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
        )  # fmt: skip


def _make_radiology(folder: Path, outside: Path) -> None:
    _nifti(folder / "GOOD" / "S1")
    _dicom(folder / "GOOD-DICOM" / "S1")
    _cut(_nifti(folder / "NIFTI-CUT") / "CT_img.nii")
    _mask_only(_nifti(folder / "MASK-SHAPE"), np.ones((9, 24, 12), np.uint8))
    _mask_only(_nifti(folder / "MASK-GRID"), np.ones((24, 24, 12), np.uint8), origin_mm=50)
    _nifti(folder / "MASK-EMPTY", _set_empty)
    _nifti(folder / "VOXELS-NAN", _set_nan)
    _nifti(folder / "VOXELS-INFINITE", _set_infinite)
    _spacing(_nifti(folder / "SPACING-ZERO"), 0)
    _spacing(_nifti(folder / "SPACING-NEGATIVE"), -2)
    (_nifti(folder / "NIFTI-NOTHING") / "CT_img.nii").write_bytes(b"")
    _cut(_dicom(folder / "DICOM-CUT") / "3.dcm")
    (_dicom(folder / "DICOM-GAP") / "3.dcm").unlink()
    _dicom(folder / "DICOM-MIXED", _turn_last)
    _dicom(folder / "DICOM-TWO", _another_matrix)
    _dicom(folder / "DICOM-SPACING", _no_spacing)
    (folder / "OUTSIDE").symlink_to(_nifti(outside / "study"))


def _make_slides(folder: Path, outside: Path) -> None:
    _tile(folder / "GOOD.tif", mpp=0.5)
    _tile(folder / "NO-MPP.png")
    _tile(outside / "tile.png")
    (folder / "OUTSIDE.png").symlink_to(outside / "tile.png")
    _text(folder, "NOTHING.svs", "")
    _text(folder, "NO-SLIDE.docx", "a letter")
    _text(folder, "NO-SLIDE.svs", "a letter")


PATIENTS = sorted({"GOOD", "GOOD-DICOM", "TWICE", *(
    path.split("/")[1] for path, _ in EXPECTED if path.startswith("radiology/")
)})  # fmt: skip


def _make_tables(folder: Path) -> None:
    rows = ["GOOD,61", "GOOD-DICOM,62", "TWICE,63", "TWICE,64"]
    rows += [f"{p},70" for p in PATIENTS if p not in ("GOOD", "GOOD-DICOM", "TWICE")]
    _text(folder, "patients.csv", "\n".join(["patient_id,age", *rows]))
    _text(
        folder,
        "outcomes.csv",
        "patient_id,endpoint,time_days,event\n"
        "GOOD,OS,100,1\nUNKNOWN,OS,100,1\nGOOD-DICOM,OS,100,2\nTWICE,OS,-3,1\n",
    )
    _text(
        folder,
        "studies.csv",
        "patient_id,study_id,study_date\nGOOD,S1,2020-01-01\nTWICE,S1,yesterday\n",
    )
    _text(folder, "diagnoses.csv", "patient_id,icd10cm,date\nGOOD,C34.1,März\n", "latin-1")
    _text(folder, "genomics/good.csv", "patient_id,A_rnaseq,B_rnaseq\nGOOD,1,2\nTWICE,2,1\n")
    _text(folder, "genomics/nothing.csv", "")
    _text(folder, "genomics/nan.csv", "patient_id,A_rnaseq,B_rnaseq\nGOOD-DICOM,nan,2\n")


@dataclass(frozen=True)
class Ingested:
    """What the command line said of the cohort, and the store that it made."""

    store: Path
    exit_code: int
    answer: dict[str, Any]

    def ask(self, *words: object) -> Result:
        """What another command says of the store; bugs are raised."""
        return _tumorbase(*words, "--store", self.store)


def _tumorbase(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """The cohort of all bad inputs with good ones of each kind, ingested once."""
    folder = tmp_path_factory.mktemp("bad")
    cohort, outside = folder / "cohort", folder / "outside"
    _make_radiology(cohort / "radiology", outside)
    _make_slides(cohort / "pathology" / "slides", outside)
    _make_tables(cohort)
    store = folder / "store"
    done = _tumorbase("ingest", cohort, "--store", store, "--workers", 1, "--json")
    return Ingested(store, done.exit_code, json.loads(done.stdout))


def test_the_exit_status_tells_of_the_quarantine(ingested):
    assert ingested.exit_code == 3


@pytest.mark.parametrize(("path", "reason"), EXPECTED)
def test_each_bad_input_is_named_with_its_reason(ingested, path, reason):
    reasons = [q["reason"] for q in ingested.answer["quarantined"] if path in q["path"]]
    assert any(re.search(reason, said) for said in reasons), reasons or "not quarantined"


def test_nothing_good_is_quarantined(ingested):
    named = {path for path, _ in EXPECTED}
    strange = [
        refused
        for refused in ingested.answer["quarantined"]
        if not any(path in refused["path"] for path in named)
    ]
    assert strange == []


def test_all_good_items_are_in_and_nothing_of_the_bad_ones(ingested):
    added = ingested.answer["added"]
    assert added["series"] == 2
    assert added["lesions"] == 1
    assert added["slides"] == 1
    assert added["patients"] == len(PATIENTS)
    exported = ingested.store.parent / "lesions.csv"
    assert ingested.ask("export", "--level", "lesion", "--out", exported).exit_code == 0
    lines = exported.read_text().splitlines()
    assert len(lines) == 2
    assert ",GOOD," in lines[1].replace('"', "")


def test_the_store_is_sound(ingested):
    checked = ingested.ask("check", "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["is_clean"]


def test_bad_inputs_are_named_again_and_nothing_good_is_ingested_again(ingested):
    cohort = ingested.store.parent / "cohort"
    copy = shutil.copytree(ingested.store, ingested.store.with_name("copy"))
    again = _tumorbase("ingest", cohort, "--store", copy, "--workers", 1, "--json")
    answer = json.loads(again.stdout)
    assert again.exit_code == 3
    assert answer["quarantined"] == ingested.answer["quarantined"]
    assert set(answer["added"].values()) == {0}
    assert "commit" not in answer["timings"]


def _refused(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("limit", [0, -1, 10_000])
def test_a_limit_out_of_range_is_refused(ingested, limit):
    said = ingested.ask("similar", _lesion(ingested), "--level", "lesion", "-k", limit)
    if said.exit_code == 2:  # usage
        assert "Traceback" not in said.stderr
    else:
        assert str(limit) in _refused(said)


def _lesion(ingested: Ingested) -> str:
    out = ingested.store.parent / "one.csv"
    ingested.ask("export", "--level", "lesion", "--out", out)
    return out.read_text().splitlines()[1].split(",")[0].strip('"')


def test_an_unknown_id_is_refused(ingested):
    assert "'nobody'" in _refused(ingested.ask("similar", "nobody", "--level", "lesion"))


def test_a_vector_of_wrong_dimension_is_refused(ingested, tmp_path):
    for shape in [(3,), (2, 2), (0,)]:
        np.save(tmp_path / "v.npy", np.ones(shape, np.float32))
        asked = ingested.ask("similar", "--vector", tmp_path / "v.npy", "--level", "lesion")
        assert "vector" in _refused(asked)


def test_a_vector_file_that_is_none_is_refused(ingested, tmp_path):
    (tmp_path / "v.npy").write_text("no vector")
    _refused(ingested.ask("similar", "--vector", tmp_path / "v.npy", "--level", "lesion"))


@pytest.mark.parametrize(
    "where",
    [
        "region = ",
        "region = 'primary'; DROP TABLE lesion",
        "1=1; ATTACH '{spy}' AS spy",
        "lesion_id IN (SELECT 'x')",
        "EXISTS (FROM read_csv('{secret}'))",
        "region = (SELECT content FROM read_text('{secret}'))",
        "getenv('HOME') = 'x'",
        "1=1) UNION (SELECT 1",
        "1=1 -- ) \n; COPY candidates TO '{spy}'",
        "no_such_column = 1",
        "'; COPY (SELECT 1) TO '{spy}'; --",
        "row_number() OVER () = 1",
    ],
)
def test_a_filter_that_is_no_predicate_is_refused_and_never_run(ingested, tmp_path, where):
    secret, spy = tmp_path / "secret.csv", tmp_path / "spy"
    secret.write_text("a\n1\n")
    text = where.format(secret=secret, spy=spy)
    asked = ingested.ask("similar", _lesion(ingested), "--level", "lesion", "--where", text)
    assert "filter" in _refused(asked)
    assert not spy.exists()


def test_no_patient_name_of_a_dicom_file_is_stored(ingested):
    for file in ingested.store.rglob("*"):
        if file.is_file():
            assert b"Some^One" not in file.read_bytes()
