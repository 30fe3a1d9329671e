"""How classifiers of torchvision are described."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from tumorbase.models import torchvision_models
from tumorbase.models.published import describe


@pytest.mark.parametrize("model", ["regnet_y_400mf", "vit_b_16"])
def test_a_model_is_described_without_making_its_weights(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[nn.Module] = []
    build = torchvision_models._without_classifier

    def keep(name: str) -> Any:
        networks.append(build(name)[0])
        return build(name)

    monkeypatch.setattr(torchvision_models, "_without_classifier", keep)
    assert describe(f"torchvision-{model}").dim == {"regnet_y_400mf": 440, "vit_b_16": 768}[model]
    assert all(parameter.is_meta for parameter in networks[0].parameters())
