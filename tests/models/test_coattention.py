"""Co-attention equals the published one and torch's."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from golden import assert_golden, fill, seeded
from tumorbase.models.coattention import CoAttention


def test_output_and_raw_scores_are_golden(shared) -> None:
    golden = np.load(shared / "reference" / "mcat" / "golden.npz")
    seed, patches = (int(value) for value in golden["coattn/seed_N"])
    random = seeded(seed)
    genes = torch.from_numpy(random.standard_normal((6, 256)).astype(np.float32))
    bag = torch.from_numpy(random.standard_normal((patches, 256)).astype(np.float32))
    output, scores = fill(CoAttention(256))(genes, bag)
    assert_golden(output[:, None], golden["coattn/out"])
    assert_golden(scores[None, None], golden["coattn/A_raw"])


def test_outputs_and_gradients_are_those_of_torch() -> None:
    theirs = nn.MultiheadAttention(16, 1).double()
    nn.init.normal_(theirs.in_proj_bias)
    ours = CoAttention(16).double()
    ours.load_state_dict(theirs.state_dict())
    genes, bag = torch.randn(3, 16).double(), torch.randn(50, 16).double()
    output, scores = ours(genes, bag)
    expected, weights = theirs(genes, bag, bag)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(scores.softmax(dim=1), weights)
    output.square().sum().backward()
    expected.square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
