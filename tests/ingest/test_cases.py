"""With radnet chosen, a run adds vectors of scans and of the cases they make up, and else none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import generate_uid

from golden import fill
from tumorbase.ingest.case_plan import plan_cases, refuse_partial_cases
from tumorbase.ingest.dicom_series import read_series
from tumorbase.ingest.dicom_tree import plan_dicom
from tumorbase.ingest.item import Item, Plan
from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.ingest.pseudonyms import pseudonym
from tumorbase.models.networks import build
from tumorbase.models.radnet import RadNet
from tumorbase.models.scan_preparation import Sample, grey_slices, prepare_case
from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.export import export_level
from tumorbase.query.network_diagnosis import diagnose_by_network
from tumorbase.query.similar import similar
from tumorbase.store.errors import InvalidRequest, MissingWeights, NotFound
from tumorbase.store.store import Store

SLICES = 3


@pytest.fixture(scope="module")
def network() -> RadNet:
    """RadNet with the fill that stands in for trained weights."""
    return fill(build("radnet"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def weights(network: RadNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with these weights, under the name that says that they are a user's own."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(network.state_dict(), folder / "radnet.pth")
    yield folder
    shutil.rmtree(folder)  # two thirds of a gigabyte


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


@pytest.fixture(scope="module")
def cohort(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies of two patients, of which two are called S1; few slices of real CT.

    P1/S1 and P1/S2 are NIfTI, P2/S1 are DICOM files of a CT and of what is called an MR.
    """
    folder = tmp_path_factory.mktemp("cohort") / "radiology"
    for name, study in (("STS_001", "P1/S1"), ("STS_003", "P1/S2")):
        source = shared / "data" / "ct" / "sts" / name / "CT_image.nii.gz"
        (folder / study).mkdir(parents=True)
        write_slices(source, folder / study / "CT_img.nii.gz")
    source = shared / "data" / "ct" / "sts" / "STS_002" / "dicom_CT" / "image"
    (folder / "P2" / "S1").mkdir(parents=True)
    for modality, first in (("CT", 0), ("MR", 20)):
        write_series(sorted(source.iterdir())[first:][:SLICES], folder / "P2" / "S1", modality)
    return folder.parent


@pytest.fixture(scope="module")
def encoded(
    cohort: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store of the cohort, encoded by radnet after a run without it; not to be changed."""
    with Store.create(tmp_path_factory.mktemp("stores") / "encoded") as store:
        ingest(store, [cohort], IngestOptions(workers=1))
        assert not {"series", "case"} & {encoder.level for encoder in store.view().encoders()}
        summary = run(store, cohort, weights)
        assert summary.quarantined == ()
        assert (summary.committed, summary.unchanged) == (3, 4)  # cases; series are as they were
        yield store


def write_slices(source: Path, target: Path) -> None:
    """Every tenth slice of a NIfTI image, `SLICES` of them."""
    image = nibabel.load(source)
    voxels = np.asarray(image.dataobj)[:, :, 5 : 5 + 10 * SLICES : 10]
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), image.affine), target)


def write_series(slices: list[Path], folder: Path, modality: str) -> None:
    """A series of its own made of some slices of a CT."""
    series = generate_uid(entropy_srcs=[modality])
    for path in slices:
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.Modality = series, modality
        dataset.save_as(folder / f"{modality}_{path.name}")


def run(store: Store, cohort: Path, weights: Path, key: bytes | None = None) -> IngestSummary:
    """A run with radnet."""
    options = IngestOptions(
        encoders=("radnet",), weights=weights, workers=1, device="cpu", pseudonym_key=key
    )
    return ingest(store, [cohort], options)


def vectors(store: Store, level: str) -> dict[str, tuple[dict, np.ndarray]]:
    """Row and vector of each id of a level that has one encoder."""
    view = store.view()
    (encoder,) = view.encoders(level)
    loaded = view.vectors(encoder)
    pairs = zip(loaded.rows.to_pylist(), loaded.raw, strict=True)
    return {row[f"{level}_id"]: (row, vector) for row, vector in pairs}


def test_every_scan_and_every_study_has_a_vector(encoded: Store) -> None:
    cases, scans = vectors(encoded, "case"), vectors(encoded, "series")
    assert sorted(cases) == ["P1/S1", "P1/S2", "P2/S1"]
    row, _ = cases["P2/S1"]
    assert row == {"case_id": "P2/S1", "study_id": "S1", "patient_id": "P2"}
    known = encoded.view().table("series").to_pylist()
    assert {
        series_id: (row["study_id"], row["patient_id"]) for series_id, (row, _) in scans.items()
    } == {row["series_id"]: (row["study_id"], row["patient_id"]) for row in known}


def test_the_vectors_are_those_of_the_network(
    encoded: Store, cohort: Path, network: RadNet
) -> None:
    series = sorted(encoded.view().table("series").to_pylist(), key=lambda row: row["modality"])
    of_study = [row for row in series if row["patient_id"] == "P2"]
    files = cohort / "radiology" / "P2" / "S1"
    samples = []
    for row, name in zip(of_study, ("CT", "MRI"), strict=True):
        paths = [str(path) for path in files.glob(f"{row['modality']}_*")]
        volume = read_series(str(files), row["series_id"], paths).volume
        samples.append(Sample(name, [grey_slices(volume.voxels, name)]))
    case = prepare_case(samples)
    assert case.modalities.tolist() == [1, 4]
    with torch.inference_mode():
        output = network(case.images[None], case.marks[None], case.modalities[None])
    cases, scans = vectors(encoded, "case"), vectors(encoded, "series")
    expected = [output.case[0], *output.scans[0]]
    ours = [cases["P2/S1"][1], *(scans[row["series_id"]][1] for row in of_study)]
    for vector, token in zip(ours, expected, strict=True):
        np.testing.assert_allclose(vector, token, rtol=1e-4, atol=1e-4)


def test_the_head_diagnoses_the_patients_latest_study(
    encoded: Store, network: RadNet, weights: Path, tmp_path: Path
) -> None:
    view = encoded.view()
    with pytest.raises(MissingWeights, match="names of disorders not found: put disorder_label"):
        diagnose_by_network(view, "P2", "radnet", weights)
    names = {f"disorder {output}": output for output in range(1, 5569)} | {"C34.1": 0}
    (weights / "disorder_label_dict.json").write_text(json.dumps(names))
    found = diagnose_by_network(view, "P2", "radnet", weights)
    with torch.inference_mode():
        logits = network.fc(torch.tensor(vectors(encoded, "case")["P2/S1"][1]))
    most = logits.sigmoid().topk(20)
    assert [one.probability for one in found.diagnoses] == pytest.approx(most.values.tolist())
    called = [one.name if one.icd10cm == "" else one.icd10cm for one in found.diagnoses]
    assert called == ["C34.1" if i == 0 else f"disorder {i}" for i in most.indices.tolist()]
    assert found.receipt.notes[0] == "of study S1"
    with pytest.raises(NotFound, match="nobody"):
        diagnose_by_network(view, "nobody", "radnet", weights)
    with pytest.raises(InvalidRequest, match="does not diagnose"):
        diagnose_by_network(view, "P2", "lesanet", weights)


def test_cases_and_series_answer_questions(encoded: Store) -> None:
    view = encoded.view()
    found = similar(view, SimilarQuestion("case", id="P1/S1"))
    assert [hit.id for hit in found.hits] == ["P2/S1"]
    assert found.encoder.startswith("radnet-pooled-1-")
    found = similar(view, SimilarQuestion("series", id="P1/S1", where="modality = 'MR'"))
    assert [hit.details["modality"] for hit in found.hits] == ["MR"]
    own = similar(view, SimilarQuestion("case", id="P1/S1", same_patient=True))
    assert {hit.id for hit in own.hits} == {"P1/S2", "P2/S1"}


@pytest.mark.parametrize("level", ["series", "case"])
def test_exports_hold_the_embeddings(encoded: Store, level: str) -> None:
    exported = export_level(encoded.view(), level).read_all()
    expected = vectors(encoded, level)
    assert exported[f"{level}_id"].to_pylist() == sorted(expected)
    for row in exported.to_pylist():
        np.testing.assert_array_equal(row["embedding"], expected[row[f"{level}_id"]][1])
    long_ago = export_level(encoded.view(), level, datetime(1980, 1, 1))
    assert long_ago.read_all().num_rows == 0


def test_only_what_changed_is_encoded_anew(
    store: Store, cohort: Path, weights: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(cohort / "radiology" / "P1", copied / "radiology" / "P1")
    run(store, copied, weights)
    before = vectors(store, "case")
    again = run(store, copied, weights)
    assert (again.committed, again.unchanged) == (0, 4)
    shutil.copy(copied / "radiology/P1/S2/CT_img.nii.gz", copied / "radiology/P1/S1/CT_img.nii.gz")
    changed = run(store, copied, weights)
    assert (changed.committed, changed.unchanged) == (2, 2)  # the series and its case
    after = vectors(store, "case")
    assert sorted(after) == ["P1/S1", "P1/S2"]
    np.testing.assert_array_equal(after["P1/S1"][1], before["P1/S2"][1])


def test_a_scan_that_cannot_be_read_leaves_its_case_out(
    store: Store, cohort: Path, weights: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(cohort / "radiology" / "P1", copied / "radiology" / "P1")
    broken = copied / "radiology" / "P1" / "S1" / "CT_img.nii.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    summary = run(store, copied, weights)
    of_series, of_case = summary.quarantined
    assert of_series.path == of_case.path == str(broken)
    assert of_case.reason == f"its case has no vector without it: {of_series.reason}"
    assert list(vectors(store, "case")) == ["P1/S2"]


def test_a_mask_that_refuses_its_series_refuses_its_case(
    store: Store, cohort: Path, weights: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(cohort / "radiology" / "P1", copied / "radiology" / "P1")
    mask = nibabel.Nifti1Image(np.ones((10, 10, SLICES), np.uint8), np.eye(4))
    nibabel.save(mask, copied / "radiology" / "P1" / "S1" / "label.nii.gz")
    summary = run(store, copied, weights)
    of_series, of_case = summary.quarantined
    assert of_series.reason.startswith("mask on another grid than its image")
    assert of_case.reason == f"its case has no vector without it: {of_series.reason}"
    assert list(vectors(store, "case")) == ["P1/S2"]
    assert list(vectors(store, "series")) == store.view().table("series")["series_id"].to_pylist()


@pytest.mark.parametrize("key", [None, b"a key that is long enough"])
def test_a_series_whose_lesions_another_item_has_leaves_its_case_out(
    store: Store, cohort: Path, weights: Path, tmp_path: Path, key: bytes | None
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(cohort / "radiology" / "P1", copied / "radiology" / "P1")
    study = copied / "radiology" / "P1" / "S1"
    image = nibabel.load(study / "CT_img.nii.gz")
    mask = nibabel.Nifti1Image(np.ones(image.shape, np.uint8), image.affine)
    nibabel.save(mask, study / "label.nii.gz")
    columns = "lesion_id,patient_id,study_id,study_date,x_mm,y_mm,z_mm,long_axis_mm,short_axis_mm"
    (copied / "lesions.csv").write_text(f"{columns}\nP1/S1/primary-1,P1,S1,,,,,9,5\n")
    of_series, of_case = run(store, copied, weights, key).quarantined
    assert of_series.reason.startswith("lesion_id ")
    assert of_case.reason == f"its case has no vector without it: {of_series.reason}"
    assert len(vectors(store, "case")) == 1
    assert list(vectors(store, "series")) == store.view().table("series")["series_id"].to_pylist()
    assert list(store.staging().iterdir()) == []


def test_pseudonyms_of_a_case_are_those_of_its_patient_and_study(
    store: Store, cohort: Path, weights: Path
) -> None:
    run(store, cohort, weights, b"a key that is long enough")
    studies = store.view().table("study").to_pylist()
    expected = sorted(f"{study['patient_id']}/{study['study_id']}" for study in studies)
    assert sorted(vectors(store, "case")) == expected
    exported = export_level(store.view(), "case").read_all()
    assert exported["case_id"].to_pylist() == expected
    assert exported["embedding"].null_count == 0


def test_missing_weights_are_named(store: Store, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"weights of radnet not found: put radnet\."):
        run(store, cohort, tmp_path)


def test_scans_of_one_study_make_one_case() -> None:
    images = (("c", "A", "PT"), ("a", "A", "MR"), ("b", "A", "CT"), ("d", "B", "CT"))
    items = [
        Item(
            kind="ct_nifti",
            key=f"series:P/{name}",
            path=f"{name}.nii",
            files=(f"{name}.nii", "mask.nii"),
            patient_id="P",
            details={"study_id": study, "modality": modality},
        )
        for name, study, modality in images
    ]
    first, second = plan_cases([*items, items[0], Item("slide", "slide:x", "x.svs", ("x.svs",))])
    assert (first.key, second.key) == ("case:P/A", "case:P/B")
    assert first.files == ("b.nii", "mask.nii", "a.nii", "mask.nii", "c.nii", "mask.nii")
    assert [scan["details"]["modality"] for scan in first.details["scans"]] == ["CT", "MR", "PT"]


@pytest.mark.parametrize("key", [None, b"a key that is long enough"])
def test_a_case_is_refused_where_the_store_has_more_series_of_its_study(
    store: Store, cohort: Path, key: bytes | None
) -> None:
    ingest(store, [cohort], IngestOptions(workers=1, pseudonym_key=key))
    series = store.view().table("series")
    files = sorted((cohort / "radiology" / "P2" / "S1").iterdir())
    scans = [*plan_dicom(files).items, *plan_dicom(files[:SLICES]).items]
    scans = [replace(i, patient_id="P2", details={**i.details, "study_id": "S1"}) for i in scans]

    def stored_id(identifier: str) -> str:
        return pseudonym(key, identifier) if key else identifier

    def planned(*items: Item) -> Plan:
        return refuse_partial_cases(Plan(tuple(plan_cases(items))), series, stored_id)

    whole = planned(*scans[:2])
    assert ([item.key for item in whole.items], whole.rejected) == (["case:P2/S1"], ())
    part = planned(scans[2])
    assert part.items == ()
    (refused,) = part.rejected
    assert "the store has 1 more series of its study" in refused.reason
    assert planned(replace(scans[2], patient_id="P9")).rejected == ()


@pytest.mark.parametrize("key", [None, b"a key that is long enough"])
def test_a_scan_that_changed_has_no_vector_until_radnet_sees_it(
    store: Store, cohort: Path, weights: Path, tmp_path: Path, key: bytes | None
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(cohort / "radiology" / "P1", copied / "radiology" / "P1")
    run(store, copied, weights, key)
    before = vectors(store, "case")
    shutil.copy(copied / "radiology/P1/S2/CT_img.nii.gz", copied / "radiology/P1/S1/CT_img.nii.gz")
    plain = ingest(store, [copied], IngestOptions(workers=1, pseudonym_key=key))
    assert (plain.committed, plain.unchanged) == (1, 1)
    left = vectors(store, "case")
    assert len(left) == len(vectors(store, "series")) == 1
    assert left.keys() < before.keys()
    assert run(store, copied, weights, key).committed == 1
    assert vectors(store, "case").keys() == before.keys()


def test_a_run_that_sees_part_of_a_study_leaves_its_case_as_it_is(
    store: Store, cohort: Path, weights: Path, tmp_path: Path
) -> None:
    study = cohort / "radiology" / "P2"
    run(store, study, weights)
    before = vectors(store, "series")
    assert len(before) == 2
    part = tmp_path / "P2" / "S1"
    part.mkdir(parents=True)
    for file in study.rglob("CT_*"):
        shutil.copy(file, part)
    (refused,) = run(store, tmp_path / "P2", weights).quarantined
    assert "the store has 1 more series of its study" in refused.reason
    assert vectors(store, "series").keys() == before.keys()
