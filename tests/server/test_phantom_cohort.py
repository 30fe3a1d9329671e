"""The phantom cohort: what is in it, that it is the same each time, and that its truth is true."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import openslide
import pytest
from lifelines.utils import concordance_index
from scipy import ndimage

from tumorbase.server.demo.phantom_cohort import write_phantom_cohort
from tumorbase.server.demo.phantom_patients import draw_patients
from tumorbase.server.demo.phantom_truth import NUCLEUS_TYPES, Truth

PATIENTS = 6


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A phantom cohort folder of six patients and its truth."""
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    return folder, write_phantom_cohort(folder, seed=3, patients=PATIENTS)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_every_part_of_the_cohort_is_there(cohort):
    folder, truth = cohort
    ids = [patient.patient_id for patient in truth.patients]
    assert len(set(ids)) == PATIENTS
    assert [row["patient_id"] for row in _rows(folder / "patients.csv")] == ids
    assert {row["event"] for row in _rows(folder / "outcomes.csv")} <= {"0", "1"}
    studies = _rows(folder / "studies.csv")
    for patient in truth.patients:
        own = [row["study_id"] for row in studies if row["patient_id"] == patient.patient_id]
        assert 2 <= len(own) <= 3
        assert all(
            (folder / "radiology" / patient.patient_id / study / "CT_img.nii.gz").is_file()
            for study in own
        )
        assert (folder / "pathology" / "slides" / f"{patient.patient_id}.tif").is_file()
    assert _rows(folder / "genomics" / "rna.csv")
    assert len(_rows(folder / "genomics" / "signatures.csv")[0]) == 6


def test_the_same_seed_gives_the_same_bytes(cohort, tmp_path):
    folder, _ = cohort
    write_phantom_cohort(tmp_path, seed=3, patients=PATIENTS)
    assert _digests(tmp_path) == _digests(folder)


def test_another_seed_gives_other_patients():
    first, second = (draw_patients(np.random.default_rng(seed), 6) for seed in (0, 1))
    assert [p.risk for p in first] != [p.risk for p in second]


def test_each_lesion_is_a_component_of_the_mask_at_its_centroid(cohort):
    folder, truth = cohort
    for patient in truth.patients:
        for index in range(len(patient.study_days)):
            study_id = patient.study_id(index)
            study = folder / "radiology" / patient.patient_id / study_id
            for name, region in (("label", "primary"), ("node", "node")):
                planted = [
                    (lesion.x_mm, lesion.y_mm, lesion.z_mm, lesion.volume_mm3)
                    for lesion in truth.lesions
                    if lesion.study_id == study_id and lesion.region == region
                ]
                found, spacing_mm = _components_lps(study / f"{name}.nii.gz")
                assert len(found) == len(planted)
                for lesion in planted:
                    apart = np.abs(found - np.array(lesion)) / [*spacing_mm, 1.0]
                    assert (apart <= 1.0).all(axis=1).any(), (study_id, name, lesion)


def _components_lps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Centroid (x, y, z) LPS and volume of each component, (n, 4), and the spacing in (x, y, z)."""
    if not path.exists():
        return np.zeros((0, 4)), np.ones(3)
    image = nibabel.as_closest_canonical(nibabel.load(path))
    labels, count = ndimage.label(np.asarray(image.dataobj), np.ones((3, 3, 3)))
    spacing_mm = np.array(image.header.get_zooms(), dtype=float)
    centroids = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
    lps = nibabel.affines.apply_affine(image.affine, centroids) * [-1, -1, 1]
    volume = np.bincount(labels.ravel())[1:] * spacing_mm.prod()
    return np.column_stack([lps, volume]), spacing_mm


def test_image_and_mask_share_a_grid_and_orientations_differ(cohort):
    folder, _ = cohort
    orientations = set()
    for image_path in folder.glob("radiology/*/*/CT_img.nii.gz"):
        image, mask = nibabel.load(image_path), nibabel.load(image_path.parent / "label.nii.gz")
        assert image.shape == mask.shape
        assert np.allclose(image.affine, mask.affine)
        orientations.add("".join(nibabel.aff2axcodes(image.affine)))
    assert {"RAS", "LPS"} <= orientations


def test_lesions_grow_shrink_appear_vanish_split_and_merge(cohort):
    _, truth = cohort
    parents = [len(lesion.parents) for lesion in truth.lesions]
    assert max(parents) == 2  # a merge
    split = [lesion.parents for lesion in truth.lesions if len(lesion.parents) == 1]
    assert len(split) > len(set(split))  # two children of one track
    studies = {
        p.patient_id: [p.study_id(i) for i in range(len(p.study_days))] for p in truth.patients
    }
    tracks: dict[str, list[tuple[int, float]]] = {}
    for lesion in truth.lesions:
        index = studies[lesion.patient_id].index(lesion.study_id)
        tracks.setdefault(lesion.track_id, []).append((index, lesion.diameter_mm))
    assert any(seen[0][0] > 0 for seen in tracks.values())
    gone = {track for lesion in truth.lesions for track in lesion.parents}
    assert any(
        seen[-1][0] < len(studies[track.rsplit("-", 1)[0]]) - 1
        for track, seen in tracks.items()
        if track not in gone
    )
    changes = [seen[-1][1] / seen[0][1] for seen in tracks.values() if len(seen) > 1]
    assert min(changes) < 0.8
    assert max(changes) > 1.2


def test_openslide_reads_the_pyramid_and_its_mpp(cohort):
    folder, _ = cohort
    for path in sorted(folder.glob("pathology/slides/*.tif")):
        with openslide.OpenSlide(path) as slide:
            assert slide.level_count == 3
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
            assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)


def test_nuclei_are_darker_than_what_surrounds_them(cohort):
    folder, truth = cohort
    slide_truth = next(slide for slide in truth.slides if not slide.has_pen_mark)
    with openslide.OpenSlide(folder / "pathology/slides" / f"{slide_truth.slide_id}.tif") as slide:
        red = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., 0].astype(float)
    x, y = np.round(slide_truth.centroid_px).astype(int).T
    assert red[y, x].mean() < np.median(red) - 40
    assert 200 < len(x) < 2000


def test_types_of_nuclei_differ_in_size_and_shape(cohort):
    _, truth = cohort
    area = np.concatenate([slide.area_px for slide in truth.slides])
    kind = np.concatenate([slide.type_index for slide in truth.slides])
    mean_area = {name: area[kind == i].mean() for i, name in enumerate(NUCLEUS_TYPES)}
    assert mean_area["tumour"] > 2 * mean_area["lymphocyte"]


def test_hovernet_json_holds_the_true_nuclei(cohort):
    folder, truth = cohort
    slides = {slide.slide_id: slide for slide in truth.slides}
    paths = sorted(folder.glob("pathology/nuclei/*.json"))
    assert paths
    for path in paths:
        written = json.loads(path.read_text(encoding="utf-8"))
        nuclei = list(written["nuc"].values())
        assert written["mag"] == 20
        assert np.allclose([n["centroid"] for n in nuclei], slides[path.stem].centroid_px)


def test_planted_risk_ranks_the_outcomes():
    patients = [p for seed in range(5) for p in draw_patients(np.random.default_rng([seed, 0]), 24)]
    c_index = concordance_index(
        [p.time_days for p in patients],
        [-p.risk for p in patients],
        [p.is_event for p in patients],
    )
    assert c_index > 0.7
    assert 0.4 < np.mean([p.is_event for p in patients]) < 0.95


def test_lymphocytes_follow_the_risk_and_tumour_the_subtype(cohort):
    _, truth = cohort
    by_risk = sorted(truth.patients, key=lambda patient: patient.risk)
    slides = {slide.patient_id: slide for slide in truth.slides}
    lowest, highest = (slides[p.patient_id] for p in (by_risk[0], by_risk[-1]))
    assert lowest.fraction("lymphocyte") > highest.fraction("lymphocyte") + 0.1
    tumour = {
        subtype: np.mean(
            [slides[p.patient_id].fraction("tumour") for p in by_risk if p.subtype == subtype]
        )
        for subtype in ("lung", "liver")
    }
    assert tumour["liver"] > tumour["lung"]


def test_truth_is_written_as_json(cohort, tmp_path):
    _, truth = cohort
    truth.write(tmp_path / "truth.json")
    written = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert len(written["patients"]) == PATIENTS
    assert len(written["lesions"]) == len(truth.lesions)


def test_too_few_patients_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 6 patients, got 2"):
        write_phantom_cohort(tmp_path, patients=2)
