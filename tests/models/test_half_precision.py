"""bfloat16, in which networks run on a GPU, points vectors the same way as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from patches import real_patches

from golden import save_weights
from tumorbase.models.encoders import Runtime, build_encoder


@pytest.mark.parametrize("name", ["hipt-vit256", "resnet50-layer3", "timm-resnet10t"])
def test_vectors_of_real_patches_keep_their_direction(
    name: str, shared: Path, tmp_path: Path
) -> None:
    save_weights(name, tmp_path)
    encoder = build_encoder(name, Runtime(weights=tmp_path))
    patches = list(real_patches(shared, 4))
    full = encoder.encode(patches)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder.encode(patches)
    assert not np.array_equal(half, full)  # it was another precision
    cosine = (full * half).sum(axis=1)
    assert (cosine >= 0.999).all(), cosine
