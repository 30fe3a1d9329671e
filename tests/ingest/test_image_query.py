"""An image as a question has the vector that ingest gave the same image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tumorbase.ingest.image_query import EncodedImage, ImageQuestion, encode_image
from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.models.encoders import Runtime
from tumorbase.query.answers import SimilarQuestion
from tumorbase.query.similar import similar
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import BadInput, InvalidRequest
from tumorbase.store.store import Store


@pytest.fixture(scope="module")
def store(shared: Path, tmp_path_factory: pytest.TempPathFactory):
    """Two sarcoma CTs and an H&E tile."""
    paths = [shared / "data/ct/sts/STS_001", shared / "data/ct/sts/STS_019"]
    tile = [shared / "data/pathology/nuclei_dsb2018/718751b439c0.png"]
    with Store.create(tmp_path_factory.mktemp("image") / "store") as store:
        ingest(store, paths, IngestOptions(workers=1))
        ingest(store, tile, IngestOptions(source="slides", mpp=0.5, workers=1))
        yield store


def encoded_as(asked: ImageQuestion, stored: StoredEncoder) -> EncodedImage:
    return encode_image(asked, stored.name, stored.preprocessing, Runtime())


def test_a_ct_with_its_mask_finds_its_own_lesion(store, shared):
    folder = shared / "data/ct/sts/STS_019"
    asked = ImageQuestion(folder / "CT_image.nii.gz", "lesion", mask=folder / "CT_mask.nii.gz")
    encoded = encoded_as(asked, store.view().encoder("lesion", "radiomics"))
    question = SimilarQuestion(
        "lesion", vector=tuple(encoded.vector.tolist()), encoder=encoded.encoder_id
    )
    nearest = similar(store.view(), question).hits[0]
    assert nearest.patient_id == "STS_019"
    assert nearest.distance == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("level", ["patch", "nucleus", "slide"])
def test_a_tile_has_the_vector_it_was_ingested_with(store, shared, level):
    tile = shared / "data/pathology/nuclei_dsb2018/718751b439c0.png"
    (encoder,) = store.view().encoders(level)
    encoded = encoded_as(ImageQuestion(tile, level, mpp=0.5), encoder)
    assert encoded.encoder_id == encoder.encoder_id
    stored = store.view().vectors(encoder).raw
    assert np.abs(stored - encoded.vector).max(axis=1).min() == 0


def test_patches_are_cut_as_the_stored_ones_were(shared, tmp_path):
    tile = shared / "data/pathology/nuclei_dsb2018/718751b439c0.png"
    options = IngestOptions(source="slides", mpp=0.25, patch_mpp=0.75, workers=1)
    with Store.create(tmp_path / "store") as store:
        ingest(store, [tile], options)
        for level in ("patch", "slide"):
            (stored,) = store.view().encoders(level)
            encoded = encoded_as(ImageQuestion(tile, level, mpp=0.25), stored)
            assert encoded.encoder_id == stored.encoder_id
            assert (encoded.vector == store.view().vectors(stored).raw[0]).all()


def test_the_nucleus_meant_is_the_one_nearest_the_centre(store, shared):
    tile = shared / "data/pathology/nuclei_dsb2018/718751b439c0.png"
    (encoder,) = store.view().encoders("nucleus")
    encoded = encoded_as(ImageQuestion(tile, "nucleus", mpp=0.5), encoder)
    vectors = store.view().vectors(encoder)
    row = int(np.abs(vectors.raw - encoded.vector).max(axis=1).argmin())
    x, y = (vectors.rows[name].to_numpy() for name in ("x_level0_px", "y_level0_px"))
    distances = np.hypot(x - 320 / 2, y - 256 / 2)
    assert distances[row] == distances.min()


def test_what_cannot_ask_is_refused(store, shared):
    tile = shared / "data/pathology/nuclei_dsb2018/718751b439c0.png"
    with pytest.raises(InvalidRequest, match="mask"):
        ImageQuestion(tile, "lesion")
    with pytest.raises(InvalidRequest, match="patient"):
        ImageQuestion(tile, "patient")
    with pytest.raises(BadInput, match="mpp"):
        encoded_as(ImageQuestion(tile, "patch"), store.view().encoder("patch", "stain-texture"))
    with pytest.raises(InvalidRequest, match="'radiomics' does not encode a patch"):
        encoded_as(ImageQuestion(tile, "patch"), store.view().encoder("lesion", "radiomics"))
    for mpp in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidRequest, match="mpp must be in"):
            ImageQuestion(tile, "patch", mpp=mpp)
