"""The plan of a cohort folder."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from tumorbase.ingest.cohort import plan_cohort
from tumorbase.ingest.item import Context, Item, Plan


@pytest.fixture
def cohort(tmp_path) -> Path:
    """A cohort folder of two patients with every part, of which only the tables have content."""
    folder = tmp_path / "lab"
    files = {
        "patients.csv": "patient_id,age\nP1,63\nP2,70\n",
        "studies.csv": "patient_id,study_id,study_date\nP1,S1,\nP2,S1,\nP2,S2,\n",
        "outcomes.csv": "patient_id,endpoint,time_days,event\nP1,OS,1,1\n",
        "diagnoses.csv": "patient_id,icd10cm,date\nP1,C34,\n",
        "lesions.csv": "lesion_id\n",
        "radiology/P1/CT_img.nii.gz": "x",
        "radiology/P1/label.nii.gz": "x",
        "radiology/P1/node.nii.gz": "x",
        "radiology/P2/S1/CT_img.nii.gz": "x",
        "radiology/P2/S2/CT_img.nii": "x",
        "radiology/P2/S2/notes.txt": "x",
        "pathology/slides/P1.2.svs": "x",
        "pathology/slides/P2_a.tif": "x",
        "genomics/rna.csv": "patient_id,A_rnaseq\nP1,1\n",
        "genomics/signatures.csv": "g\nA\n",
        "README.md": "x",
        ".DS_Store": "x",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def plan(folder: Path) -> tuple[Plan, Context]:
    return plan_cohort(folder, Context(folder.parent))


def item(planned: Plan, key: str) -> Item:
    (found,) = [item for item in planned.items if item.key == key]
    return found


def rejected(planned: Plan, folder: Path) -> dict[str, str]:
    return {
        str(Path(found.path).relative_to(folder.resolve())): found.reason
        for found in planned.rejected
    }


def test_every_part_becomes_an_item_and_other_files_are_left(cohort) -> None:
    planned, _ = plan(cohort)
    assert planned.rejected == ()
    assert [found.key for found in planned.items] == [
        "table:lab/patients.csv",
        "table:lab/studies.csv",
        "table:lab/outcomes.csv",
        "table:lab/diagnoses.csv",
        "table:lab/lesions.csv",
        "series:P1/S1",
        "series:P2/S1",
        "series:P2/S2",
        "slide:P1.2",
        "slide:P2_a",
        "table:lab/genomics/rna.csv",
    ]


def test_every_part_is_optional(tmp_path) -> None:
    assert plan(tmp_path)[0] == Plan(())


def test_known_patients_are_those_of_patients_csv(cohort) -> None:
    assert plan(cohort)[1].known_patients == frozenset({"P1", "P2"})
    (cohort / "patients.csv").unlink()
    assert plan(cohort)[1].known_patients is None


def test_unreadable_patients_csv_is_left_to_its_reader(cohort) -> None:
    (cohort / "patients.csv").write_bytes(b"patient_id\n\xff\n")
    planned, context = plan(cohort)
    assert planned.items[0].key == "table:lab/patients.csv"
    assert context.known_patients is None


def test_masks_go_with_their_image(cohort) -> None:
    found = item(plan(cohort)[0], "series:P1/S1")
    folder = (cohort / "radiology/P1").resolve()
    assert found.kind == "ct_nifti"
    assert found.patient_id == "P1"
    assert found.details["masks"] == {
        "primary": str(folder / "label.nii.gz"),
        "node": str(folder / "node.nii.gz"),
    }
    assert set(found.files) == {
        str(folder / name) for name in ("CT_img.nii.gz", "label.nii.gz", "node.nii.gz")
    }


def test_study_without_a_folder_is_the_only_one_of_the_patient_else_the_patient(cohort) -> None:
    (cohort / "studies.csv").write_text("patient_id,study_id,study_date\nP1,S1,\nP1,S2,\n")
    item(plan(cohort)[0], "series:P1/P1")
    (cohort / "studies.csv").unlink()
    item(plan(cohort)[0], "series:P1/P1")


def test_moved_folder_keeps_its_keys_and_a_renamed_one_is_another_cohort(cohort) -> None:
    keys = [found.key for found in plan(cohort)[0].items]
    (cohort.parent / "elsewhere").mkdir()
    moved = cohort.rename(cohort.parent / "elsewhere" / "lab")
    assert [found.key for found in plan(moved)[0].items] == keys
    renamed = moved.rename(moved.with_name("other"))
    assert plan(renamed)[0].items[0].key == "table:other/patients.csv"


def test_slides_belong_to_the_patient_in_their_name(cohort) -> None:
    planned, _ = plan(cohort)
    assert item(planned, "slide:P1.2").patient_id == "P1"
    assert item(planned, "slide:P2_a").patient_id == "P2"


def test_profiles_go_with_the_signatures_beside_them(cohort) -> None:
    found = item(plan(cohort)[0], "table:lab/genomics/rna.csv")
    assert [Path(file).name for file in found.files] == ["rna.csv", "signatures.csv"]
    assert "signatures.csv" not in str(found.details)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pathology/slides/P1.txt", "x", "wrong suffix: expected .svs"),
        ("pathology/features/P1.svs", "x", "wrong suffix: expected .h5"),
        ("pathology/nuclei/P1.xml", "x", "wrong suffix: expected .json, got '.xml'"),
        ("pathology/slides/P1.svs", "", "the file is empty (0 bytes)"),
        ("genomics/rna.xlsx", "x", "wrong suffix: expected .csv, got '.xlsx'"),
        ("genomics/none.csv", "", "the file is empty (0 bytes)"),
        ("radiology/P3.nii.gz", "x", "expected a folder radiology/PATIENT/[STUDY/], got a file"),
        ("radiology/P3/notes.txt", "x", "expected CT_img.nii.gz or DICOM files"),
        ("radiology/P3/label.nii.gz", "x", "expected a CT_img.nii.gz beside the mask"),
        ("radiology/P2/S1/more/CT_img.nii.gz", "x", "a second CT_img in one study"),
        ("radiology/P2/S2/CT_img.nii.gz", "x", "a second CT_img in one study"),
        ("radiology/P1/other.nii.gz", "x", "expected CT_img, label or node as the name"),
    ],
)
def test_file_that_does_not_belong_is_rejected_and_the_rest_planned(
    cohort, name: str, content: str, reason: str
) -> None:
    before = plan(cohort)[0].items
    (cohort / name).parent.mkdir(parents=True, exist_ok=True)
    (cohort / name).write_text(content)
    planned, _ = plan(cohort)
    found = rejected(planned, cohort)
    assert list(found) == [name]
    assert found[name].startswith(reason)
    assert planned.items == before


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("diagnoses.csv", "outside.csv"),
        ("genomics/evil.csv", "outside.csv"),
        ("pathology/slides/P1.tif", "outside.csv"),
        ("radiology/P3", "outside"),
        ("radiology/P2/S3", "outside"),
        ("radiology/P1/extra.nii.gz", "outside.csv"),
    ],
)
@pytest.mark.parametrize("is_relative", [False, True])
def test_link_out_of_the_folder_is_rejected(cohort, name, target, is_relative) -> None:
    outside = cohort.parent / target
    if target == "outside":
        outside.mkdir()
        (outside / "CT_img.nii.gz").write_text("secret")
    else:
        outside.write_text("patient_id,A_rnaseq\nP1,1\n")
    link = cohort / name
    link.unlink(missing_ok=True)
    depth = len(Path(name).parts)
    link.symlink_to(Path(*[".."] * depth, target) if is_relative else outside)
    planned, _ = plan(cohort)
    assert rejected(planned, cohort) == {name: "leaves the cohort folder by a link"}
    assert not any(
        "outside" in file or file == str(link) for i in planned.items for file in i.files
    )


def test_linked_part_that_leaves_the_folder_is_rejected_whole(cohort) -> None:
    (cohort / "genomics").rename(cohort.parent / "elsewhere")
    (cohort / "genomics").symlink_to(cohort.parent / "elsewhere")
    planned, _ = plan(cohort)
    assert rejected(planned, cohort) == {"genomics": "leaves the cohort folder by a link"}


def test_link_to_nothing_or_to_itself_is_rejected(cohort) -> None:
    (cohort / "genomics/loop.csv").symlink_to("loop.csv")
    (cohort / "genomics/none.csv").symlink_to("nowhere.csv")
    found = rejected(plan(cohort)[0], cohort)
    assert found == {
        "genomics/loop.csv": "is a link to nothing",
        "genomics/none.csv": "is a link to nothing",
    }


def test_cohort_folder_may_itself_be_a_link(cohort) -> None:
    (cohort.parent / "link").symlink_to(cohort)
    assert plan(cohort.parent / "link")[0] == plan(cohort)[0]


def test_one_table_may_stand_for_the_folder(cohort) -> None:
    planned, _ = plan(cohort / "outcomes.csv")
    assert [found.key for found in planned.items] == ["table:lab/outcomes.csv"]
    planned, _ = plan(cohort / "README.md")
    assert planned.items == ()
    assert "expected a cohort folder" in planned.rejected[0].reason


def test_dicom_of_a_patient_folder_is_of_that_patient(shared, cohort) -> None:
    source = shared / "data/ct/sts/STS_002/dicom_CT/image"
    target = cohort / "radiology/P1/S9"
    target.mkdir()
    for file in sorted(source.glob("*.dcm"))[:3]:
        (target / file.name).write_bytes(file.read_bytes())
    (target / "notes.txt").write_text("x")
    planned, _ = plan(cohort)
    (series,) = [found for found in planned.items if found.kind == "dicom_series"]
    assert series.patient_id == "P1"
    assert len(series.files) == 3
    assert planned.rejected == ()


def _copy_study(source: Path, target: Path, number: int) -> None:
    """Three slices as study and series `number`."""
    for file in sorted(source.glob("*.dcm"))[:3]:
        dataset = pydicom.dcmread(file)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"{dataset[keyword].value[:50]}.{number}")
        dataset.save_as(target / f"{number}-{file.name}")


@pytest.mark.parametrize("folder", ["P7", "P7/base"])
def test_folder_or_studies_csv_names_a_single_dicom_study_not_several(
    shared, cohort, folder: str
) -> None:
    source = shared / "data/ct/sts/STS_002/dicom_CT/image"
    (cohort / "studies.csv").write_text("patient_id,study_id,study_date\nP7,base,2020-01-01\n")
    target = cohort / "radiology" / folder
    target.mkdir(parents=True)
    uid = pydicom.dcmread(source / "000000.dcm").StudyInstanceUID[:50]
    for count, expected in ((1, {"base"}), (2, {f"{uid}.1", f"{uid}.2"})):
        _copy_study(source, target, count)
        studies = {one.details["study_id"] for one in plan(cohort)[0].items if is_dicom(one)}
        assert studies == expected


@pytest.mark.parametrize(
    ("dates", "expected"),
    [(("", ""), {"base"}), (("20200101", "20200102"), {"P7/2020-01-01", "P7/2020-01-02"})],
)
def test_series_without_a_study_uid_are_of_their_folder_unless_their_dates_differ(
    shared, cohort, dates: tuple[str, str], expected: set[str]
) -> None:
    source = shared / "data/ct/sts/STS_002/dicom_CT/image"
    target = cohort / "radiology/P7/base"
    target.mkdir(parents=True)
    for number, date in enumerate(dates):
        _copy_study(source, target, number)
        for file in target.glob(f"{number}-*"):
            dataset = pydicom.dcmread(file)
            dataset.StudyInstanceUID, dataset.StudyDate = "", date
            dataset.save_as(file)
    series = list(filter(is_dicom, plan(cohort)[0].items))
    assert len(series) == 2
    assert {one.details["study_id"] for one in series} == expected


def is_dicom(found: Item) -> bool:
    return found.kind == "dicom_series"


def test_masks_beside_dicom_are_of_its_series_and_need_a_single_one(shared, cohort) -> None:
    source = shared / "data/ct/sts/STS_002/dicom_CT/image"
    target = cohort / "radiology/P7"
    target.mkdir()
    (target / "label.nii.gz").write_text("x")
    _copy_study(source, target, 1)
    planned, _ = plan(cohort)
    (series,) = filter(is_dicom, planned.items)
    assert series.details["masks"] == {"primary": str((target / "label.nii.gz").resolve())}
    assert series.files[-1] == series.details["masks"]["primary"]
    _copy_study(source, target, 2)
    planned, _ = plan(cohort)
    assert rejected(planned, cohort)["radiology/P7/label.nii.gz"].endswith("got 2 series")


def test_mrxs_folder_is_part_of_its_slide(cohort) -> None:
    slides = cohort / "pathology/slides"
    (slides / "P1_b").mkdir()
    (slides / "P1_b/Slidedat.ini").write_text("x")
    (slides / "P1_b.mrxs").write_text("x")
    planned, _ = plan(cohort)
    assert planned.rejected == ()
    assert len(item(planned, "slide:P1_b").files) == 2
