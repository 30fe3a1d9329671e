"""Under a key, nothing in a store's bytes tells who the patients are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.ingest.pseudonyms import create_key, pseudonym, read_key
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.schema import ID_COLUMN, METADATA
from tumorbase.store.store import Store

KEY = b"a key of more than sixteen bytes"
OPTIONS = IngestOptions(workers=1, mpp=0.5, pseudonym_key=KEY)
NAME = "Roe^Jane"
BIRTH = "19510314"


@pytest.fixture
def cohort(small_cohort: Path) -> Path:
    """The small cohort with a DICOM series of a named patient and inputs that are refused."""
    folder = small_cohort / "radiology" / "PAT3" / "PAT3-S5"
    write_dicom(folder)
    (small_cohort / "radiology" / "PAT2" / "PAT2-S7").mkdir()
    (small_cohort / "radiology" / "PAT2" / "PAT2-S7" / "CT_img.nii.gz").write_bytes(b"no image")
    with (small_cohort / "outcomes.csv").open("a") as table:
        table.write("PAT9,OS,10,1\nPAT1,PFS,10,7\n")
    return small_cohort


def write_dicom(folder: Path) -> None:
    """Four slices of a CT with the attributes that name a patient."""
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    for index in range(4):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.PatientID, one.PatientName, one.PatientBirthDate = "PAT3", NAME, BIRTH
        one.StudyDate, one.Modality = "20200101", "CT"
        one.ImagePositionPatient = [0, 0, 3 * index]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [2, 2], 3
        one.Rows = one.Columns = 16
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.PixelData = np.full((16, 16), index, np.int16).tobytes()
        one.save_as(folder / f"{index}.dcm")


def run(store: Path, cohort: Path, options: IngestOptions = OPTIONS) -> IngestSummary:
    """Ingest into a store, made if need be, and close it."""
    with Store.open(store) if store.exists() else Store.create(store) as opened:
        return ingest(opened, [cohort], options)


def identifiers(store: Path) -> set[str]:
    """Every id and path in the metadata and the vectors of a store without pseudonyms."""
    with Store.open(store) as opened:
        view = opened.view()
        tables = [view.table(name) for name in METADATA]
        tables += [view.vectors(encoder).rows for encoder in view.encoders()]
        names = {*ID_COLUMN.values(), "study_id", "series_id", "path"} - {"panel_id"}
        return {
            value
            for table in tables
            for name in names & set(table.column_names)
            for value in table[name].to_pylist()
            if value
        }


def stored_bytes(store: Path) -> bytes:
    """All files of a store, and their names."""
    files = [path for path in store.rglob("*") if path.is_file()]
    return b"".join(str(path.relative_to(store)).encode() + path.read_bytes() for path in files)


def test_no_id_no_uid_and_no_path_is_left(cohort, tmp_path):
    run(tmp_path / "plain", cohort, IngestOptions(workers=1, mpp=0.5))
    summary = run(tmp_path / "store", cohort)
    assert len(summary.quarantined) == 3
    stored = stored_bytes(tmp_path / "store")
    known = identifiers(tmp_path / "plain")
    assert len(known) > 150
    left = {name for name in known if name.encode() in stored}
    assert left == set()
    for name in (b"PAT", NAME.encode(), BIRTH.encode(), str(cohort).encode(), cohort.name.encode()):
        assert name not in stored
    assert b"not in patients.csv" not in stored
    assert KEY not in stored


def test_the_same_key_gives_the_same_store_and_another_key_another(cohort, tmp_path):
    first = run(tmp_path / "store", cohort)
    again = run(tmp_path / "store", cohort)
    assert set(again.added.values()) == {0}
    assert again.unchanged > 0
    assert again.quarantined == first.quarantined
    run(tmp_path / "other", cohort, IngestOptions(workers=1, mpp=0.5, pseudonym_key=KEY[::-1]))
    ids = {name: patients(tmp_path / name) for name in ("store", "other")}
    assert len(ids["store"]) == len(ids["other"]) == 4
    assert not ids["store"] & ids["other"]
    assert pseudonym(KEY, "PAT0") in ids["store"]


def patients(store: Path) -> set[str]:
    """Ids of all patients."""
    with Store.open(store) as opened:
        return set(opened.view().table("patient")["patient_id"].to_pylist())


def test_all_rows_and_vectors_of_a_patient_still_belong_together(cohort, tmp_path):
    run(tmp_path / "store", cohort)
    with Store.open(tmp_path / "store") as store:
        view = store.view()
        everyone = set(view.table("patient")["patient_id"].to_pylist())
        for name in METADATA:
            table = view.table(name)
            if "patient_id" in table.column_names:
                assert set(table["patient_id"].to_pylist()) <= everyone
        lesions = dict(zip(*columns(view.table("lesion"), "lesion_id", "patient_id"), strict=True))
        slides = set(view.table("slide")["slide_id"].to_pylist())
        for encoder in view.encoders():
            rows = view.vectors(encoder).rows
            assert set(rows["patient_id"].to_pylist()) <= everyone
            if encoder.level == "lesion":
                for lesion, patient in zip(*columns(rows, "lesion_id", "patient_id"), strict=True):
                    assert lesions[lesion] == patient
            if encoder.level in ("patch", "nucleus"):
                assert set(rows["slide_id"].to_pylist()) <= slides
                parts, of_slides = columns(rows, f"{encoder.level}_id", "slide_id")
                assert all(p.startswith(s) for p, s in zip(parts, of_slides, strict=True))
                assert len(set(parts)) == len(parts)
        assert store.check().is_clean


def columns(table: pa.Table, *names: str) -> list[list[str]]:
    """Columns as lists."""
    return [table[name].to_pylist() for name in names]


def test_identifying_dicom_attributes_are_kept_only_when_asked_for(cohort, tmp_path):
    run(tmp_path / "default", cohort, IngestOptions(workers=1, mpp=0.5))
    assert NAME.encode() not in stored_bytes(tmp_path / "default")
    assert BIRTH.encode() not in stored_bytes(tmp_path / "default")
    run(tmp_path / "kept", cohort, IngestOptions(workers=1, mpp=0.5, keep_identity=True))
    with Store.open(tmp_path / "kept") as store:
        facts = store.view().table("fact").to_pylist()
    kept = {fact["text"] for fact in facts if fact["patient_id"] == "PAT3"}
    assert {NAME, BIRTH} <= kept


def test_identity_is_not_kept_under_a_key(cohort, tmp_path):
    with (
        Store.create(tmp_path / "store") as store,
        pytest.raises(InvalidRequest, match="not both"),
    ):
        ingest(store, [cohort], IngestOptions(pseudonym_key=KEY, keep_identity=True))


def test_a_key_is_made_for_its_owner_alone(tmp_path):
    key = create_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert read_key(tmp_path / "key") == key
    assert len(key) >= 32
    with pytest.raises(FileExistsError):
        create_key(tmp_path / "key")


def test_a_short_or_missing_key_is_refused(tmp_path):
    (tmp_path / "key").write_bytes(b"short\n")
    with pytest.raises(InvalidRequest, match="at least 16 bytes, got 5"):
        read_key(tmp_path / "key")
    with pytest.raises(InvalidRequest, match="No such file"):
        read_key(tmp_path / "none")
