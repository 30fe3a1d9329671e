"""Models of timm that are no encoders of patches."""

from __future__ import annotations

import pytest

from tumorbase.models.published import describe


def test_a_model_that_gives_tokens_is_refused() -> None:
    message = r"qwen3_vit_416m_enc: expected one vector an image, got an output of \(1, 576, 5120\)"
    with pytest.raises(ValueError, match=message):
        describe("timm-qwen3_vit_416m_enc")
