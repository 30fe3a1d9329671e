"""MOTCat equals the published one, step by step, and takes bags of one patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from survival_golden import assert_every_step_golden, seeded_patient

from golden import assert_golden, fill, seeded
from tumorbase.models.motcat import Transport, TransportCoAttention, transport_cost
from tumorbase.models.networks import build
from tumorbase.models.optimal_transport import sinkhorn

SIZES = [100, 200, 300, 400, 500, 600]
BLCA = [94, 334, 521, 468, 1495, 479]
VARIANTS = [
    ("concat_default", SIZES, Transport()),
    ("concat_blca_reg0.05", BLCA, Transport(reg=0.05)),
]


@pytest.mark.parametrize(("run", "sizes", "transport"), VARIANTS)
def test_every_step_is_the_published_one(shared, run, sizes, transport) -> None:
    golden = np.load(shared / "reference" / "motcat" / "golden.npz")
    network = fill(build("motcat", omic_sizes=sizes, transport=transport))
    assert_every_step_golden(network, golden, run)


def golden_features(golden: np.lib.npyio.NpzFile, run: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The patches and genes of a run of the transport alone."""
    seed, patches = (int(value) for value in golden[f"{run}/seed_N"])
    random, scale = seeded(seed), float(golden[f"{run}/reg_tau_scale"][2])
    bag, genes = (random.standard_normal((n, 256)).astype(np.float32) for n in (patches, 6))
    return torch.from_numpy(bag) * scale, torch.from_numpy(genes) * scale


@pytest.mark.parametrize("run", ["ot_uot", "ot_uot_reg0.05"])
def test_cost_plan_and_distance_are_golden(shared, run) -> None:
    golden = np.load(shared / "reference" / "motcat" / "golden.npz")
    reg, reg_marginal, _ = golden[f"{run}/reg_tau_scale"].tolist()
    bag, genes = golden_features(golden, run)
    cost = transport_cost(bag, genes)
    seen, plan = TransportCoAttention(Transport(reg, reg_marginal))(genes, bag)
    assert_golden(cost, golden[f"{run}/cost"])
    assert_golden(plan[None, None], golden[f"{run}/pi"])
    assert_golden((cost.T * plan).sum(), golden[f"{run}/dist"])
    torch.testing.assert_close(seen, plan @ bag)


def test_costs_are_distances_after_the_least_feature_is_taken_off() -> None:
    bag, genes = torch.randn(40, 8).double() + 3.0, torch.randn(6, 8).double()
    shifted = [vectors - vectors.amin(dim=1, keepdim=True) for vectors in (bag, genes)]
    torch.testing.assert_close(transport_cost(bag, genes), torch.cdist(*shifted).square())


def test_the_balanced_plan_of_the_reference_is_golden(shared) -> None:
    golden = np.load(shared / "reference" / "motcat" / "golden.npz")
    bag, genes = golden_features(golden, "ot_sinkhorn")
    cost = transport_cost(bag, genes)
    a, b = ((v - v.amin(dim=1, keepdim=True)).sum(dim=1) for v in (bag, genes))
    plan = sinkhorn(cost / cost.max(), a / a.sum(), b / b.sum(), reg=0.1)
    assert_golden(cost, golden["ot_sinkhorn/cost"])
    assert_golden(plan.T[None, None], golden["ot_sinkhorn/pi"])
    assert_golden((cost * plan).sum(), golden["ot_sinkhorn/dist"])


@pytest.fixture
def network() -> torch.nn.Module:
    """Of two small gene groups, without dropout."""
    torch.manual_seed(0)
    return build("motcat", omic_sizes=[5, 7], n_classes=3).eval()


def test_a_bag_of_one_patch_is_that_patch_for_every_group(network) -> None:
    output = network(*seeded_patient(0, 1, [5, 7]))
    assert output.hazards.isfinite().all()
    plan = output.attention["coattention"]
    assert plan.shape == (2, 1)
    assert (plan > 0).all()


def test_a_bag_that_equals_the_genes_costs_nothing_and_is_shared_equally() -> None:
    same = torch.ones(4, 8)
    _, plan = TransportCoAttention(Transport())(same[:2], same)
    torch.testing.assert_close(plan, plan[:1, :1].expand(2, 4))


def test_gradients_do_not_go_through_the_plan(network) -> None:
    output = network(*seeded_patient(0, 9, [5, 7]))
    assert output.logits.requires_grad
    assert not output.attention["coattention"].requires_grad
