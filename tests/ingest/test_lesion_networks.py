"""Lesions of real CTs and DeepLesion key slices are encoded by the networks a run names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from golden import save_weights
from tumorbase.ingest.image_query import ImageQuestion, encode_image
from tumorbase.ingest.item import Context, Item
from tumorbase.ingest.key_slices import plan_key_slices, read_boxes, read_key_slice, read_slice_hu
from tumorbase.ingest.lesion_vectors import in_volume
from tumorbase.ingest.mask_lesions import LabelMask, find_lesions
from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.ingest.radiology import read_ct_nifti
from tumorbase.ingest.volume import Grid, Volume
from tumorbase.models.encoders import Runtime, build_encoder
from tumorbase.models.lesion_crop import LesionInVolume
from tumorbase.query.export import export_level
from tumorbase.store.store import Store

NETWORKS = ("lesanet", "lesion-graph", "ssbr")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights that stand in for trained ones."""
    folder = tmp_path_factory.mktemp("weights")
    for name in NETWORKS:
        save_weights(name, folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A few patches are encoded as fast on one thread, and others work beside this test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.create(tmp_path / "store") as store:
        yield store


@pytest.fixture
def sts(shared: Path) -> Path:
    """A real sarcoma patient: a CT and an MR in NIfTI with masks, and the CT in DICOM."""
    return shared / "data" / "ct" / "sts" / "STS_002"


def run(store: Store, source: Path, weights: Path, *encoders: str) -> IngestSummary:
    """Ingest with these encoders in this process."""
    options = IngestOptions(encoders=encoders, weights=str(weights), workers=1, device="cpu")
    return ingest(store, [source], options)


def vectors_of(store: Store, name: str) -> dict[str, np.ndarray]:
    """Raw vectors by lesion."""
    view = store.view()
    (encoder,) = (e for e in view.encoders() if e.name == name)
    vectors = view.vectors(encoder)
    return dict(zip(vectors.rows["lesion_id"].to_pylist(), vectors.raw, strict=True))


def body_parts(store: Store) -> dict[str, float | None]:
    """The column `body_part` of an export, by lesion."""
    table = export_level(store.view(), "lesion").read_all()
    return dict(zip(table["lesion_id"].to_pylist(), table["body_part"].to_pylist(), strict=True))


def test_a_ct_lesion_is_encoded_by_each_network_and_an_mr_lesion_by_none(
    sts: Path, store: Store, weights: Path, tmp_path: Path
) -> None:
    for name in ("CT_image", "CT_mask", "MR_T1_image", "MR_T1_mask"):
        (tmp_path / "STS_002").mkdir(exist_ok=True)
        (tmp_path / "STS_002" / f"{name}.nii.gz").symlink_to(sts / f"{name}.nii.gz")
    summary = run(store, tmp_path / "STS_002", weights, *NETWORKS)
    assert summary.added["lesions"] == 2
    graph, lesanet = vectors_of(store, "lesion-graph"), vectors_of(store, "lesanet")
    (lesion_id,) = graph
    assert "CT" in lesion_id
    assert (graph[lesion_id].shape, lesanet[lesion_id].shape) == ((1408,), (256,))
    assert np.linalg.norm(graph[lesion_id]) == pytest.approx(1, rel=1e-5)
    scores = body_parts(store)
    assert [key for key, score in scores.items() if score is not None] == [lesion_id]
    assert scores[lesion_id] == vectors_of(store, "ssbr")[lesion_id][0]


def test_nifti_and_dicom_of_one_ct_have_the_same_vectors(
    sts: Path, store: Store, weights: Path
) -> None:
    run(store, sts / "CT_image.nii.gz", weights, *NETWORKS)
    run(store, sts / "dicom_CT", weights, *NETWORKS)
    for name in NETWORKS:
        one, other = vectors_of(store, name).values()
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_vectors_are_those_of_the_lesion_in_its_ct(sts: Path, store: Store, weights: Path) -> None:
    run(store, sts / "CT_image.nii.gz", weights, *NETWORKS)
    # Both files are stored as (x, y, z) towards left, back and head.
    image, mask = (nibabel.load(sts / f"CT_{n}.nii.gz") for n in ("image", "mask"))
    voxels, inside = (np.asarray(one.dataobj).T for one in (image, mask))
    z = int((inside > 0).sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(inside[z])
    box = (columns.min() - 5, rows.min() - 5, columns.max() + 5, rows.max() + 5)
    spacing_mm = tuple(map(float, image.header.get_zooms()[::-1]))
    lesion = LesionInVolume(voxels.astype(np.float32), z, box, spacing_mm)
    for name in NETWORKS:
        (stored,) = vectors_of(store, name).values()
        expected = build_encoder(name, Runtime(weights=weights)).encode([lesion])[0]
        np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-5)


def test_the_key_slice_shows_most_of_the_lesion_in_a_padded_box() -> None:
    labels = np.zeros((6, 40, 50), np.uint8)
    labels[2, 10:14, 20:25] = 1
    labels[3, 8:15, 19:24] = 1
    grid = Grid(labels.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    (lesion,) = find_lesions([LabelMask("m", "primary", labels)], grid, "S", 1.0)
    placed = in_volume(Volume(labels.astype(np.float32), grid), lesion)
    assert placed.key_slice == 3
    assert placed.box_px == (14, 3, 28, 19)
    assert placed.spacing_mm == (2.0, 1.0, 1.0)


def test_a_lesion_larger_than_the_patch_at_the_volumes_border_is_encoded(
    weights: Path, tmp_path: Path
) -> None:
    image = np.full((30, 200, 1), -1000, np.int16)  # (x, y, z): one slice
    image[:, 20:] = 60
    mask = (image > 0).astype(np.uint8)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    for name, voxels in (("image", image), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii.gz")
    files = str(tmp_path / "image.nii.gz"), str(tmp_path / "mask.nii.gz")
    details = {"study_id": "S", "masks": {"primary": files[1]}, "modality": "CT"}
    item = Item("ct_nifti", "series:P/S", files[0], files, "P", details)
    rows = read_ct_nifti(item, Context(tmp_path, NETWORKS, Runtime(weights=weights)))
    assert [staged.spec.name for staged in rows.vectors] == list(NETWORKS)
    for staged in rows.vectors:
        table = pa.ipc.open_stream(staged.path).read_all()
        assert np.isfinite(table["vector"].combine_chunks().flatten()).all()


def test_key_slices_are_encoded_with_themselves_for_neighbours(
    shared: Path, weights: Path, tmp_path: Path
) -> None:
    folder = shared / "data" / "deeplesion" / "key_slices"
    names = ("000009_04_01_060", "000002_01_01_162")
    files = [folder / f"{name}{suffix}" for name in names for suffix in (".jpg", ".tru")]
    for item in plan_key_slices(files).items:
        rows = read_key_slice(item, Context(tmp_path, NETWORKS, Runtime(weights=weights)))
        image_hu = read_slice_hu(item.files[0])
        lesions = [
            LesionInVolume(
                np.repeat(image_hu[None], 5, axis=0),
                2,
                (box.x_min_px, box.y_min_px, box.x_max_px, box.y_max_px),
                (1.0, 0.8, 0.8),
            )
            for box in read_boxes(item.files[1], image_hu.shape)
        ]
        assert [staged.spec.name for staged in rows.vectors] == list(NETWORKS)
        for staged in rows.vectors:
            table = pa.ipc.open_stream(staged.path).read_all()
            vectors = np.array(table["vector"].to_pylist())
            expected = build_encoder(staged.spec.name, Runtime(weights=weights)).encode(lesions)
            np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_the_body_part_is_added_to_lesions_that_are_there(
    sts: Path, store: Store, weights: Path
) -> None:
    source = sts / "CT_image.nii.gz"
    run(store, source, weights)
    assert list(body_parts(store).values()) == [None]
    summary = run(store, source, weights, "ssbr")
    assert (summary.added["lesions"], summary.committed) == (0, 1)
    (score,) = body_parts(store).values()
    assert score == vectors_of(store, "ssbr").popitem()[1][0]
    assert {e.name for e in store.view().encoders("lesion")} == {"radiomics", "measurement"}
    assert run(store, source, weights, "ssbr").unchanged == 1


def test_another_regressors_score_takes_the_place_of_the_first(
    sts: Path, store: Store, weights: Path, tmp_path: Path
) -> None:
    source = sts / "CT_image.nii.gz"
    run(store, source, weights, "ssbr")
    (first,) = body_parts(store).values()
    state = load_file(weights / "ssbr.safetensors")
    state["fc7_new.bias"] += 1
    save_file(state, tmp_path / "ssbr.safetensors")
    run(store, source, tmp_path, "ssbr")
    (second,) = body_parts(store).values()
    assert second == pytest.approx(first + 1, abs=1e-4)
    assert len(store.view().encoders("body_part")) == 2


def test_a_picture_asks_as_its_lesion_was_ingested(sts: Path, store: Store, weights: Path) -> None:
    image, mask = sts / "CT_image.nii.gz", sts / "CT_mask.nii.gz"
    run(store, image, weights, "lesion-graph")
    question = ImageQuestion(image, "lesion", mask)
    asked = encode_image(question, "lesion-graph", "", Runtime(weights=weights))
    (stored,) = vectors_of(store, "lesion-graph").values()
    np.testing.assert_allclose(asked.vector, stored, atol=1e-6)
