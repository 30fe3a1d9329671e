"""How models of timm are described."""

from __future__ import annotations

import pytest

from tumorbase.models import timm_models
from tumorbase.models.published import describe


def test_a_model_that_gives_tokens_is_refused() -> None:
    message = r"qwen3_vit_416m_enc: expected one vector an image, got an output of \(1, 576, 5120\)"
    with pytest.raises(ValueError, match=message):
        describe("timm-qwen3_vit_416m_enc")


def test_a_model_is_built_once_to_be_described(monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe("timm-test_vit.r160_in1k")
    monkeypatch.setattr(timm_models, "timm_network", None)
    assert describe("timm-test_vit.r160_in1k") == first
    assert first.dim == 64
