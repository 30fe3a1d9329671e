"""Networks are built by name."""

from __future__ import annotations

from importlib import import_module

import pytest

from tumorbase.models.networks import NETWORKS, build


def test_an_unknown_network_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown network 'resnet'; there are hovernet, "):
        build("resnet")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_listed_network_exists(name: str) -> None:
    module, _, network = NETWORKS[name].partition(":")
    assert getattr(import_module(module), network).__doc__
