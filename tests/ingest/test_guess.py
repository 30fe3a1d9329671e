"""What a path is, where the user does not say."""

from __future__ import annotations

import pytest

from tumorbase.ingest.guess import guess_file, guess_sources
from tumorbase.ingest.item import Context
from tumorbase.ingest.planning import plan


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ct/sts/STS_002/CT_image.nii.gz", "nifti"),
        ("ct/sts/STS_002/dicom_CT/mask/RS.dcm", "dicom"),
        ("deeplesion/fm_annotations/pretrain.csv", "deeplesion"),
        ("deeplesion/key_slices/000009_04_01_060.jpg", "deeplesion"),
        ("genomics/mcat/datasets_csv_sig/tcga_blca_all_clean.csv.zip", "tcga"),
        ("genomics/survpath/metadata/tcga_blca.csv", "tcga"),
        ("genomics/survpath/clinical/tcga_blca_clinical.csv", "tcga"),
        ("genomics/survpath/rna_xena/blca_rna_clean.csv", "tcga"),
        ("genomics/mcat/splits/5foldcv/tcga_blca/splits_0.csv", None),
        ("genomics/mcat/signatures.csv", None),
        ("clinical/lung1_annotations.csv", "tcga"),
        ("radiomics/pyradiomics/baseline_glcm.csv", "pyradiomics"),
        ("radiomics/ibsi_reference/ibsi_1_dig_phantom.csv", None),
        ("rp3d/demoData.json", None),
        ("nuclei_consep/test_1_000.jpg", "slides"),
    ],
)
def test_real_files_are_told_apart(shared, path: str, source: str | None) -> None:
    file = shared / "data" / path
    if path.startswith("nuclei"):
        file = shared / "data/pathology" / path
    assert file.exists()
    assert guess_file(file) == source


def test_whole_slide_dicom_is_a_slide(shared) -> None:
    files = [path for path in (shared / "data/pathology").rglob("*.dcm") if path.is_file()]
    assert files
    assert {guess_file(path) for path in files} == {"slides"}


def test_dicom_without_suffix_is_found_by_its_prefix(shared) -> None:
    folder = shared / "data/ct/totalsegmentator/example_ct_dicom"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {guess_file(path) for path in files} == {"dicom"}


@pytest.mark.parametrize(
    ("name", "content", "source"),
    [
        ("a.h5", "x", "features"),
        ("a.pt", "x", "features"),
        ("a.json", '{"mag": 40, "nuc": {}}', "nuclei"),
        ("a.json", '{"wsi_metadata": {}, "cells": []}', "nuclei"),
        ("a.json", "{}", None),
        ("a.svs", "", "slides"),
        ("a.dcm", "", "dicom"),
        ("a.txt", "x", None),
        ("patients.csv", "patient_id\n", "cohort"),
        ("a.csv", "File_name,Key_slice_index\n", "deeplesion"),
        ("a.csv", "Image,Mask,original_shape_MeshVolume\n", "pyradiomics"),
        ("a.csv", "", None),
        ("a.csv.zip", "not a zip", "tcga"),
    ],
)
def test_file_is_known_by_name_and_content(tmp_path, name, content, source) -> None:
    (tmp_path / name).write_text(content)
    assert guess_file(tmp_path / name) == source


@pytest.mark.parametrize(
    "part", ["patients.csv", "radiology", "pathology/slides", "pathology/nuclei", "genomics/a.csv"]
)
def test_folder_with_a_part_of_a_cohort_is_one(tmp_path, part: str) -> None:
    (tmp_path / part).mkdir(parents=True)
    (tmp_path / "a.svs").touch()
    assert guess_sources(tmp_path) == {"cohort": [tmp_path]}


def test_collection_with_folders_of_such_names_is_no_cohort(shared) -> None:
    assert "cohort" not in guess_sources(shared / "data/genomics")
    assert not (shared / "data/patients.csv").exists()
    assert set(guess_sources(shared / "data/pathology")) == {"slides"}


def test_folder_of_several_sources_is_all_of_them(tmp_path) -> None:
    for name in ("a.svs", "sub/b.h5", "c.txt", ".hidden.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert guess_sources(tmp_path) == {
        "slides": [tmp_path / "a.svs"],
        "features": [tmp_path / "sub/b.h5"],
    }


def test_deeplesion_pictures_are_no_slides(shared) -> None:
    assert set(guess_sources(shared / "data/deeplesion")) == {"deeplesion"}


def test_path_that_nothing_knows_is_rejected_and_the_others_planned(tmp_path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.svs").write_text("x")
    planned, context = plan([tmp_path / "a.txt", tmp_path / "a.svs"], None, Context(tmp_path))
    assert [found.path for found in planned.rejected] == [str(tmp_path / "a.txt")]
    assert "--source" in planned.rejected[0].reason
    assert [item.kind for item in planned.items] == ["slide"]
    assert context.known_patients is None


def test_cohorts_know_the_patients_of_all(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "patients.csv").write_text(f"patient_id\n{name}\n")
    paths = [tmp_path / "a", tmp_path / "b"]
    planned, context = plan(paths, "cohort", Context(tmp_path))
    assert context.known_patients == frozenset({"a", "b"})
    assert len({item.key for item in planned.items}) == 2
