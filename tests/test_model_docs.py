"""docs/models.md tells of every network and encoder there is, and leads to pages that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tumorbase.models.encoders import ENCODERS, FAMILIES
from tumorbase.models.networks import NETWORKS

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = (DOCS / "models.md").read_text()


def test_every_network_is_in_the_index() -> None:
    assert set(NETWORKS) <= set(re.findall(r"`(\w+)`", INDEX))


def test_every_encoder_that_needs_weights_is_in_the_index() -> None:
    named = re.findall(r"`([\w-]+)`", INDEX)
    of_hovernet = [f"hovernet{name}" for name in named if name.startswith("-")]
    networks = {name for name, entry in ENCODERS.items() if entry.weights}
    assert networks | {f"{prefix}MODEL" for prefix in FAMILIES} <= {*named, *of_hovernet}


@pytest.mark.parametrize("page", sorted(set(re.findall(r"\((models/\w+\.md)\) \|", INDEX))))
def test_each_page_shows_a_figure_the_source_and_what_was_verified(page: str) -> None:
    text = (DOCS / page).read_text()
    assert "```" in text
    for part in ("## Source", "erified"):
        assert part in text, part
