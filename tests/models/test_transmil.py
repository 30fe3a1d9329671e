"""TransMIL equals what was published of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden, fill, seeded, state_shapes
from tumorbase.models.transmil import PositionEncoding, TransMil

# Of szc19990412/TransMIL@0db1535 (nystrom-attention 0.0.14), filled as the goldens are, for a bag
# max(standard_normal((n, 1024)), 0) drawn from the seed n.
LOGITS = {
    1: [-0.27097207, -0.24833594, -0.7145097, 0.08113024],
    5: [0.58237684, -1.1112458, 0.5159657, 1.1573253],
    300: [-0.36398023, 0.09970434, 1.1060842, 0.5501127],
}


def bag(patches: int) -> Tensor:
    vectors = np.maximum(seeded(patches).standard_normal((patches, 1024)), 0)
    return torch.from_numpy(vectors.astype(np.float32))


@pytest.fixture(scope="module")
def network() -> TransMil:
    network = fill(TransMil(n_classes=4))
    assert isinstance(network, TransMil)
    return network


@pytest.mark.parametrize("patches", LOGITS)
def test_logits_are_those_of_the_published_code(network: TransMil, patches: int) -> None:
    assert_golden(network(bag(patches)).logits, np.array([LOGITS[patches]], dtype=np.float32))


def test_keys_are_the_published_ones() -> None:
    layer = [
        ("norm.weight", [512]),
        ("norm.bias", [512]),
        ("attn.to_qkv.weight", [1536, 512]),
        ("attn.to_out.0.weight", [512, 512]),
        ("attn.to_out.0.bias", [512]),
        ("attn.res_conv.weight", [8, 1, 33, 1]),
    ]
    convolutions = [("proj", 7), ("proj1", 5), ("proj2", 3)]
    assert state_shapes(TransMil(n_classes=2)) == [
        ("cls_token", [1, 1, 512]),
        *(
            (f"pos_layer.{name}.{kind}", shape)
            for name, size in convolutions
            for kind, shape in (("weight", [512, 1, size, size]), ("bias", [512]))
        ),
        ("_fc1.0.weight", [512, 1024]),
        ("_fc1.0.bias", [512]),
        *((f"layer1.{key}", shape) for key, shape in layer),
        *((f"layer2.{key}", shape) for key, shape in layer),
        ("norm.weight", [512]),
        ("norm.bias", [512]),
        ("_fc2.weight", [2, 512]),
        ("_fc2.bias", [2]),
    ]


def test_a_bag_is_filled_up_to_a_square_by_its_first_patches(network: TransMil) -> None:
    seven = bag(7)
    nine = torch.cat([seven, seven[:2]])
    torch.testing.assert_close(network(seven).logits, network(nine).logits)


def test_the_order_of_the_patches_matters(network: TransMil) -> None:
    patches = bag(30)
    assert not torch.allclose(network(patches).logits, network(patches.flip(0)).logits)


def test_positions_are_the_sum_of_three_convolutions_over_the_square() -> None:
    encoding = PositionEncoding()
    tokens = torch.randn(1, 1 + 16, 512)
    encoded = encoding(tokens, 4)
    torch.testing.assert_close(encoded[:, 0], tokens[:, 0])
    # By hand for the patch at row 1, column 2, and one feature.
    square = tokens[0, 1:, 9].view(4, 4)
    around = torch.nn.functional.pad(square, (3, 3, 3, 3))[1:8, 2:9]  # 7 x 7, it in the middle
    expected = square[1, 2].clone()
    for convolution, rim in ((encoding.proj, 0), (encoding.proj1, 1), (encoding.proj2, 2)):
        window = around[rim : 7 - rim, rim : 7 - rim]
        expected += (convolution.weight[9, 0] * window).sum() + convolution.bias[9]
    torch.testing.assert_close(encoded[0, 1 + 4 + 2, 9], expected)
