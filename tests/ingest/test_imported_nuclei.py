"""Nuclei that a file brings take the place of segmented ones, and of nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from golden import save_weights
from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.store.store import Store

OPTIONS = IngestOptions(mpp=0.25, workers=1)
CONTOUR = [[10, 10], [20, 10], [20, 20], [10, 20]]


@pytest.fixture
def slides(shared: Path, tmp_path: Path) -> Path:
    """A folder with a real tile."""
    folder = tmp_path / "slides"
    folder.mkdir()
    shutil.copy(shared / "data/pathology/tiles/histo.jpg", folder / "P1.jpg")
    return folder


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """A folder with a file of one nucleus of it."""
    folder = tmp_path / "nuclei"
    folder.mkdir()
    write_contour(folder, CONTOUR)
    return folder


@pytest.fixture
def by_two_networks(tmp_path: Path) -> IngestOptions:
    """Options that also name a network of patches."""
    save_weights("timm-resnet10t", tmp_path / "weights")
    names = ("timm-resnet10t", "stain-texture")
    return replace(OPTIONS, encoders=names, weights=str(tmp_path / "weights"), device="cpu")


def write_contour(folder: Path, contour: list[list[int]]) -> None:
    nucleus = {"contour": contour, "type": 1, "type_prob": 0.9}
    (folder / "P1.json").write_text(json.dumps({"mag": 40, "nuc": {"1": nucleus}}))


def counted(store: Store, level: str = "nucleus") -> dict[str, int]:
    """How many vectors each encoder has."""
    view = store.view()
    return {encoder.name: view.vector_rows(encoder) for encoder in view.encoders(level)}


@pytest.mark.parametrize("key", [None, b"a key of sixteen bytes"])
def test_a_slide_with_a_file_of_nuclei_is_not_segmented(
    slides: Path, nuclei: Path, tmp_path: Path, key: bytes | None
) -> None:
    options = replace(OPTIONS, pseudonym_key=key)
    with Store.create(tmp_path / "store") as store:
        ingest(store, [slides, nuclei], options)
        assert counted(store) == {"nucleus-shape": 1}
        assert ingest(store, [slides], options).unchanged == 1
        with (slides / "P1.jpg").open("ab") as changed:
            changed.write(b" ")
        assert ingest(store, [slides], options).committed == 1
        assert counted(store) == {"nucleus-shape": 1}


@pytest.mark.parametrize("key", [None, b"a key of sixteen bytes"])
def test_a_file_that_comes_later_takes_the_place_of_segmented_nuclei_alone(
    slides: Path, nuclei: Path, tmp_path: Path, by_two_networks: IngestOptions, key: bytes | None
) -> None:
    options, by_network = (replace(o, pseudonym_key=key) for o in (OPTIONS, by_two_networks))
    with Store.create(tmp_path / "store") as store:
        first = ingest(store, [slides], by_network)
        segmented = counted(store)["nucleus-shape"]
        assert (segmented > 1, first.added["nuclei"]) == (True, segmented)
        patches = counted(store, "patch")
        assert ingest(store, [nuclei], options).committed == 1
        assert counted(store) == {"nucleus-shape": 1}
        for paths in ([slides], [slides, nuclei]):
            again = ingest(store, paths, options)
            assert (again.committed, again.outdated) == (0, {})
        assert counted(store, "patch") == patches
        assert store.counts(store.view())["nucleus"] == 1


def test_a_file_that_is_refused_leaves_the_slide_to_segmentation(
    slides: Path, nuclei: Path, tmp_path: Path
) -> None:
    write_contour(nuclei, CONTOUR[:2])
    with Store.create(tmp_path / "store") as store:
        assert len(ingest(store, [slides, nuclei], OPTIONS).quarantined) == 1
        assert counted(store) == {}
        segmented = ingest(store, [slides], OPTIONS)
        assert (segmented.committed, segmented.outdated) == (1, {})
        assert counted(store)["nucleus-shape"] > 1
        write_contour(nuclei, CONTOUR)
        ingest(store, [slides, nuclei], OPTIONS)
        assert counted(store) == {"nucleus-shape": 1}


def test_what_an_earlier_commit_saw_stays_as_it_was(
    slides: Path, nuclei: Path, tmp_path: Path
) -> None:
    with Store.create(tmp_path / "store") as store:
        ingest(store, [slides], OPTIONS)
        before = store.view()
        segmented = counted(store)["nucleus-shape"]
        ingest(store, [nuclei], OPTIONS)
        (encoder,) = before.encoders("nucleus")
        assert before.vector_rows(encoder) == segmented
        assert not store.check().problems
