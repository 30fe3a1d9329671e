"""PORPOISE equals what was published of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import assert_golden, fill, seeded, state_shapes
from tumorbase.models.porpoise import Porpoise

SIZES = (10, 20, 30, 40, 50, 60)
# Of mahmoodlab/PORPOISE@8ddca09, `PorpoiseMMF(210)`, filled as the goldens are, for a bag
# max(standard_normal((n, 1024)), 0) and the vectors standard_normal(size), all of seed n.
LOGITS = {
    1: [-0.3661145, 0.20301959, -0.12368391, 0.07132755],
    30: [-0.65871906, -0.4793916, -0.2806059, -0.0079494],
}


@pytest.mark.parametrize("patches", LOGITS)
def test_logits_are_those_of_the_published_code(patches: int) -> None:
    random = seeded(patches)
    bag = np.maximum(random.standard_normal((patches, 1024)), 0).astype(np.float32)
    omics = [torch.from_numpy(random.standard_normal(n).astype(np.float32)) for n in SIZES]
    output = fill(Porpoise(SIZES))(torch.from_numpy(bag), omics)
    assert_golden(output.logits, np.array([LOGITS[patches]], dtype=np.float32))


def test_keys_are_the_published_ones() -> None:
    linear = [
        ("attention_net.1", 512, 1024),
        ("attention_net.4.attention_a.0", 256, 512),
        ("attention_net.4.attention_b.0", 256, 512),
        ("attention_net.4.attention_c", 1, 256),
        ("rho.0", 256, 512),
        ("fc_omic.0.0", 256, 210),
        ("fc_omic.1.0", 256, 256),
        ("mm.linear_h1.0", 32, 256),
        ("mm.linear_z1.0", 32, 512),
        ("mm.linear_o1.0", 32, 32),
        ("mm.linear_h2.0", 32, 256),
        ("mm.linear_z2.0", 32, 512),
        ("mm.linear_o2.0", 32, 32),
        ("mm.encoder1.0", 256, 33 * 33),
        ("mm.encoder2.0", 256, 256 + 512),  # what is fused, and both vectors again
        ("classifier_mm", 4, 256),
    ]
    assert state_shapes(Porpoise(SIZES)) == [
        (f"{name}.{kind}", shape)
        for name, rows, columns in linear
        for kind, shape in (("weight", [rows, columns]), ("bias", [rows]))
    ]
