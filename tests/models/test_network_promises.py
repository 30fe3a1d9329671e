"""What holds for every network: an item's answer is its own, and all that is learned is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tumorbase.models.networks import build
from tumorbase.models.radnet_vit import SliceViTConfig
from tumorbase.models.smurf import SmurfConfig

pytestmark = pytest.mark.usefixtures("one_thread")

TINY_VIT = SliceViTConfig(image_px=32, patch_px=16, width=32, layers=1, heads=2, feed_forward=32)


def _radnet_does_not_use(name: str) -> bool:
    """Parts that the reference has, and calls nowhere."""
    is_template = "transformer_encoder" in name and ".encoder.layers." not in name
    return (
        name.startswith("resnet2D.fc")
        or "sublayer.0.norm" in name
        or (is_template and ".encoder.norm" not in name)
    )


@dataclass(frozen=True)
class Case:
    """A network, and three items for it, or one where it takes no more.

    `has_no_effect` tells the parameters that change no answer.
    """

    name: str
    config: Mapping[str, Any]
    batch: Callable[[], tuple[Tensor, ...]]
    has_no_effect: Callable[[str], bool] = lambda name: False


def images(side_px: int, items: int = 3) -> tuple[Tensor, ...]:
    return (torch.randn(items, 3, side_px, side_px),)


def lesions() -> tuple[Tensor, ...]:
    return torch.rand(3, 3, 32, 32) - 0.2, torch.tensor([[8.0, 6.0, 20.0, 24.0]]).expand(3, -1)


def cases() -> tuple[Tensor, ...]:
    """Each of two scans of two slices."""
    marks = torch.ones(3, 2, 2, dtype=torch.bool)
    return torch.rand(3, 2, 2, 32, 32), marks, torch.tensor([[1, 4], [7, 2], [3, 3]])


def patients() -> tuple[Tensor, ...]:
    """Sub-volumes of tumour and node, and two fragments of a slide."""
    return torch.rand(3, 4, 3, 32, 32), torch.rand(3, 4, 3, 32, 32), torch.randn(3, 2, 192, 32, 32)


ITEMS = {
    "hipt_vit256": Case("hipt_vit256", {}, lambda: images(64)),
    "hipt_vit4k": Case("hipt_vit4k", {}, lambda: (torch.randn(3, 384, 4, 6),)),
    "resnet50_layer3": Case("resnet50_layer3", {}, lambda: images(64)),
    "hovernet": Case(
        "hovernet", {"mode": "fast", "nr_types": 3}, lambda: (255 * torch.rand(3, 3, 104, 104),)
    ),
    "lesanet": Case("lesanet", {"labels": 6}, lesions),
    "lesion_graph": Case("lesion_graph", {}, lesions),
    "ssbr": Case("ssbr", {}, lambda: images(40)),
    "radnet": Case("radnet", {"n_classes": 4}, cases, _radnet_does_not_use),
    "radnet, vit": Case("radnet", {"n_classes": 4, "vit": TINY_VIT}, cases, _radnet_does_not_use),
    **{
        f"smurf, {fusion}": Case("smurf", {"config": SmurfConfig(fusion=fusion)}, patients)
        for fusion in ("fused_attention", "attention", "kronecker", "concatenation")
    },
    "smurf as published": Case(
        "smurf",
        {"config": SmurfConfig(as_published=True)},
        patients,
        lambda name: name.startswith("extractor_ct_lymph"),  # the tumour's reads the node too
    ),
    "snn": Case("snn", {"input_dim": 20}, lambda: (torch.randn(3, 20),)),
}
WHOLE = {
    "hipt_4k": Case("hipt_4k", {}, lambda: images(256, items=1)),
    "hipt_lgp": Case("hipt_lgp", {}, lambda: (torch.randn(3, 256, 384),)),
}


def tensors(output: Any) -> list[Tensor]:
    """All tensors of what a network gives."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = tuple(output.values())
    elif is_dataclass(output):
        output = tuple(getattr(output, field.name) for field in fields(output))
    return [one for part in output or () for one in tensors(part)]


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("case", ITEMS.values(), ids=ITEMS)
@torch.inference_mode()
def test_an_item_comes_out_the_same_alone_and_among_others_and_again(case: Case) -> None:
    network, batch = build(case.name, **case.config).eval(), case.batch()
    among, alone, again = (
        tensors(network(*some)) for some in (batch, *2 * [tuple(part[1:2] for part in batch)])
    )
    for ours, theirs, repeated in zip(among, alone, again, strict=True):
        torch.testing.assert_close(ours[1:2], theirs, rtol=1e-4, atol=1e-5)
        assert torch.equal(theirs, repeated)
    assert any(not torch.allclose(ours[1], ours[2]) for ours in among)


@pytest.mark.parametrize("case", [*ITEMS.values(), *WHOLE.values()], ids=[*ITEMS, *WHOLE])
def test_gradients_reach_every_parameter_in_use(case: Case) -> None:
    network = build(case.name, **case.config)
    answers = tensors(network(*case.batch()))
    sum(answer.square().sum() for answer in answers if answer.requires_grad).backward()
    parameters = dict(network.named_parameters())
    without = {name for name, p in parameters.items() if p.grad is None or not p.grad.any()}
    # What is added to all scores alike, a softmax takes off again: rounding decides these.
    without -= {name for name in parameters if name.endswith("attention_c.bias")}
    assert without == {name for name in parameters if case.has_no_effect(name)}
