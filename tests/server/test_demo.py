"""The demo, end to end: the page is whole and self-contained, and what it says is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tumorbase.server.demo.run import run_demo
from tumorbase.store.errors import InvalidRequest
from tumorbase.store.store import Store

PATIENTS = 16

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo of 16 patients."""
    folder = tmp_path_factory.mktemp("demo")
    assert run_demo(folder, seed=1, patients=PATIENTS) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(demo_folder: Path) -> str:
    return (demo_folder / "index.html").read_text(encoding="utf-8")


def test_page_loads_nothing_and_runs_nothing(page):
    targets = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert "<script" not in page
    assert "@import" not in page
    assert "url(http" not in page


def test_page_answers_all_questions(page):
    for section in ("similar", "track", "survival", "diagnosis", "export", "slide", "truth"):
        assert f'<section id="{section}">' in page
    assert page.count("<svg") == 3
    assert page.count("data:image/png") > 6
    assert page.count("data:image/jpeg") == 2
    assert "log-rank p" in page


def test_page_says_that_it_is_a_phantom(page):
    assert "Everything here is a phantom." in page


def test_every_picture_has_a_text(page):
    pictures = re.findall(r"<img [^>]*>", page)
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)
    drawings = re.findall(r"<svg [^>]*>", page)
    assert all('role="img"' in drawing and "aria-label=" in drawing for drawing in drawings)


def test_all_planted_lesions_are_found(page):
    row = re.search(r"Lesions</th><td class=\"n\">(\d+)</td><td class=\"n\">(\d+)</td>", page)
    assert row is not None
    assert row[1] == row[2]


def test_most_links_between_studies_are_right(page):
    row = re.search(r"are right: recall ([\d.]+), precision ([\d.]+)", page)
    assert row is not None
    assert float(row[1]) >= 0.9
    assert float(row[2]) >= 0.9


def test_most_planted_nuclei_are_segmented(page):
    row = re.search(r"of a planted one: recall ([\d.]+), precision ([\d.]+)", page)
    assert row is not None
    assert float(row[1]) >= 0.8
    assert float(row[2]) >= 0.8


def test_the_store_is_left_sound_and_without_owner(demo_folder):
    with Store.open(demo_folder / "store") as store:
        counts = store.counts(store.view())
    assert counts["patient"] == PATIENTS
    assert counts["slide"] == PATIENTS


def test_a_folder_with_another_cohort_is_refused(tmp_path):
    (tmp_path / "cohort").mkdir()
    with pytest.raises(InvalidRequest, match="that no demo made"):
        run_demo(tmp_path)
    assert (tmp_path / "cohort").is_dir()
