"""CLAM equals what was published of it, in both forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden, fill, seeded, state_shapes
from tumorbase.models.checkpoints import load_into, read_state
from tumorbase.models.clam import Clam, published_state, smooth_svm

# Of mahmoodlab/CLAM@d7fe58b with 3 classes and dropout, filled as the goldens are, for a bag
# max(standard_normal((30, 1024)), 0) of seed 30 and the label 1: logits, and the instance loss
# with and without `subtyping` under the smooth SVM loss.
GOLDEN = {
    "single": ([-0.25635046, -0.43615115, 0.24110697], 1.1720622777938843, 1.3910949230194092),
    "multi": ([-0.16641282, 0.7552114, -0.19077563], 1.185352087020874, 1.3914930820465088),
}


@pytest.fixture(scope="module")
def bag() -> Tensor:
    vectors = np.maximum(seeded(30).standard_normal((30, 1024)), 0)
    return torch.from_numpy(vectors.astype(np.float32))


def filled(branches: str, is_exclusive: bool = True) -> Clam:
    network = fill(Clam(n_classes=3, branches=branches, is_exclusive=is_exclusive))
    assert isinstance(network, Clam)
    return network


@pytest.mark.parametrize("branches", GOLDEN)
def test_logits_are_those_of_the_published_code(branches: str, bag: Tensor) -> None:
    assert_golden(filled(branches)(bag).logits, np.array([GOLDEN[branches][0]], dtype=np.float32))


@pytest.mark.parametrize("branches", GOLDEN)
def test_cluster_loss_is_that_of_the_published_code(branches: str, bag: Tensor) -> None:
    for is_exclusive, expected in zip((True, False), GOLDEN[branches][1:], strict=True):
        network = filled(branches, is_exclusive)
        loss = network.cluster_loss(*network.attend(bag), label=1)
        torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("size", "hidden"), [("small", 256), ("big", 384)])
@pytest.mark.parametrize("branches", GOLDEN)
def test_keys_are_the_published_ones(branches: str, size: str, hidden: int) -> None:
    heads = 2 if branches == "multi" else 1
    classifiers = (
        [(f"classifiers.{c}.{kind}", shape) for c in range(2) for kind, shape in _linear(1, 512)]
        if branches == "multi"
        else [(f"classifiers.{kind}", shape) for kind, shape in _linear(2, 512)]
    )
    attention = [
        (f"attention_net.3.{name}.{kind}", shape)
        for name, rows, columns in (
            ("attention_a.0", hidden, 512),
            ("attention_b.0", hidden, 512),
            ("attention_c", heads, hidden),
        )
        for kind, shape in _linear(rows, columns)
    ]
    assert state_shapes(Clam(n_classes=2, branches=branches, size=size)) == [
        ("attention_net.0.weight", [512, 1024]),
        ("attention_net.0.bias", [512]),
        *attention,
        *classifiers,
        *(
            (f"instance_classifiers.{c}.{kind}", shape)
            for c in range(2)
            for kind, shape in _linear(2, 512)
        ),
    ]


def test_a_checkpoint_as_published_is_loaded(bag: Tensor, tmp_path: Path) -> None:
    """With the keys of DataParallel, and the labels of the instance loss among them."""
    state = {
        key.replace("attention_net.", "attention_net.module."): tensor
        for key, tensor in filled("multi").state_dict().items()
    }
    assert "attention_net.module.3.attention_a.0.weight" in state
    file = tmp_path / "s_0_checkpoint.pt"
    torch.save(state | {"instance_loss_fn.labels": torch.arange(2)}, file)
    network = Clam(n_classes=3, branches="multi").eval()
    load_into(network, published_state(read_state(file)), str(file))
    assert torch.equal(network(bag).logits, filled("multi")(bag).logits)


def test_a_branch_a_class_pools_for_its_class_alone(bag: Tensor) -> None:
    network = filled("multi")
    embedded, scores = network.attend(bag)
    changed = scores.clone()
    changed[2] = changed[2].flip(0)
    before, after = (network.classify(embedded, s).logits[0] for s in (scores, changed))
    torch.testing.assert_close(before[:2], after[:2])
    assert before[2] != after[2]


def test_the_clusters_are_the_most_and_the_least_attended_patches() -> None:
    """Scores ascend, and the class's judge, which finds positive what is large, agrees or not."""
    network = Clam(n_classes=2, is_exclusive=False)
    with torch.no_grad():
        network.instance_classifiers[1].weight.zero_()[1, 0] = 100.0
        network.instance_classifiers[1].bias.copy_(torch.tensor([50.0, 0.0]))
    embedded = torch.zeros(20, 512)
    embedded[-8:, 0] = 1.0
    scores = torch.arange(20.0)[None]
    assert network.cluster_loss(embedded, scores, label=1) < 1e-6
    assert network.cluster_loss(embedded.flip(0), scores, label=1) > 40


def test_in_exclusive_classes_what_is_attended_speaks_against_the_others() -> None:
    network = Clam(n_classes=2, is_exclusive=True)
    with torch.no_grad():
        for classifier in network.instance_classifiers:
            classifier.weight.zero_()
            classifier.bias.copy_(torch.tensor([0.0, 0.0]))
        network.instance_classifiers[0].bias.copy_(torch.tensor([0.0, 9.0]))
    loss = network.cluster_loss(torch.zeros(20, 512), torch.zeros(1, 20), label=1)
    # Label 1: undecided, log(1 + e). Class 0: surely and wrongly positive, 9 and the margin of 1.
    expected = (np.log1p(np.e) + np.log1p(np.exp(10.0))) / 2
    torch.testing.assert_close(loss.item(), expected, rtol=1e-5, atol=0)


def test_smooth_svm_is_log_of_one_and_e_to_the_margin_violation() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25]])
    losses = np.log1p(np.exp([1.0 + -1.0 - 2.0, 1.0 + 0.5 - 0.25]))
    loss = smooth_svm(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(loss.item(), losses.mean(), rtol=1e-5, atol=0)


def test_a_bag_of_fewer_patches_than_a_cluster_gives_all_of_them(bag: Tensor) -> None:
    network = filled("single")
    assert network.cluster_loss(*network.attend(bag[:1]), label=0).isfinite()


@pytest.mark.parametrize("option", [{"branches": "both"}, {"size": "medium"}])
def test_an_unknown_form_is_refused(option: dict[str, str]) -> None:
    name, value = next(iter(option.items()))
    with pytest.raises(ValueError, match=f"{name} must be .*, got '{value}'"):
        Clam(**option)  # type: ignore[arg-type]


def _linear(rows: int, columns: int) -> list[tuple[str, list[int]]]:
    return [("weight", [rows, columns]), ("bias", [rows])]
