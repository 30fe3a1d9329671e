"""Transport plans equal POT's and the stored ones, and have the marginals they promise."""

from __future__ import annotations

import warnings

import numpy as np
import ot
import pytest
import torch

from golden import assert_golden, seeded
from tumorbase.models.optimal_transport import sinkhorn, unbalanced_sinkhorn

# Rows, columns, reg and reg_marginal; a bag of one, and regularisations small and large.
PROBLEMS = [(1, 6, 0.1, 0.5), (200, 6, 0.05, 0.5), (5, 9, 0.02, 3.0), (30, 4, 0.5, 0.01)]


def problem(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random costs in [0, 1] and marginals that sum to 1."""
    random = np.random.default_rng(rows)
    a, b = random.random(rows) + 0.1, random.random(columns) + 0.1
    return random.random((rows, columns)), a / a.sum(), b / b.sum()


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def pot_unbalanced(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, reg: float, reg_marginal: float
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "If reg_type = entropy, then the matrix c is overwritten")
        return ot.unbalanced.sinkhorn_knopp_unbalanced(
            a, b, cost, reg, reg_marginal, reg_type="entropy", stopThr=1e-14, numItermax=100_000
        )


@pytest.fixture(scope="module")
def golden(shared) -> np.lib.npyio.NpzFile:
    """The plans of POT 0.9.3."""
    return np.load(shared / "reference" / "motcat" / "golden.npz")


def test_plans_of_pot_0_9_3_are_golden(golden) -> None:
    seed, rows, columns = (int(value) for value in golden["plain/seed_n_m"])
    reg, reg_marginal = golden["plain/reg_tau"].tolist()
    cost = torch.from_numpy(seeded(seed).random((rows, columns)))
    a, b = (torch.full((n,), 1.0 / n, dtype=torch.float64) for n in (rows, columns))
    unbalanced = unbalanced_sinkhorn(cost, a, b, reg, reg_marginal)
    assert_golden(unbalanced, golden["plain/plan"])
    assert_golden(sinkhorn(cost, a, b, reg), golden["plain/balanced_sinkhorn_plan"])


@pytest.mark.parametrize(("rows", "columns", "reg", "reg_marginal"), PROBLEMS)
def test_unbalanced_plan_is_pot_s(rows, columns, reg, reg_marginal) -> None:
    cost, a, b = problem(rows, columns)
    ours = unbalanced_sinkhorn(*tensors(cost, a, b), reg, reg_marginal)
    expected = pot_unbalanced(cost, a, b, reg, reg_marginal)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


def test_unbalanced_plan_of_a_bag_is_found_in_a_few_iterations() -> None:
    cost, a, b = problem(500, 6)
    cost = 0.6 + 0.4 * cost  # distances of patches differ by less than they are
    expected = pot_unbalanced(cost, a, b, 0.05, 0.5)
    ours = unbalanced_sinkhorn(*tensors(cost, a, b), 0.05, 0.5, max_iterations=12)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize(("rows", "columns", "reg", "reg_marginal"), PROBLEMS)
def test_balanced_plan_is_pot_s_and_has_its_marginals(rows, columns, reg, reg_marginal) -> None:
    cost, a, b = problem(rows, columns)
    ours = sinkhorn(*tensors(cost, a, b), reg, max_iterations=100_000)
    expected = ot.sinkhorn(a, b, cost, reg, stopThr=1e-12, numItermax=100_000)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.sum(dim=1), a, rtol=1e-8)
    np.testing.assert_allclose(ours.sum(dim=0), b, rtol=1e-12)


def test_with_little_entropy_the_plan_is_kantorovich_s() -> None:
    cost, a, b = problem(8, 8)
    ours = sinkhorn(*tensors(cost, a, b), reg=1e-3, max_iterations=100_000, tolerance=1e-6)
    exact = ot.emd(a, b, cost)
    assert float((ours.numpy() * cost).sum()) == pytest.approx((exact * cost).sum(), rel=1e-2)
    np.testing.assert_allclose(ours, exact, atol=0.01)


def test_costs_of_thousands_stay_in_range_when_balanced() -> None:
    cost, a, b = problem(6, 6)
    plan = sinkhorn(*tensors(5000.0 * cost, a, b), reg=1.0, max_iterations=20_000)
    assert plan.isfinite().all()
    np.testing.assert_allclose(plan.sum(dim=0), b, rtol=1e-12)


def test_costs_out_of_range_are_refused_when_unbalanced() -> None:
    cost, a, b = problem(6, 6)
    with pytest.raises(ValueError, match="reg must be larger for costs up to"):
        unbalanced_sinkhorn(*tensors(5000.0 + cost, a, b), reg=1.0, reg_marginal=1.0)


def test_a_batch_of_problems_is_solved_as_each_alone() -> None:
    cost, a, b = tensors(*problem(6, 6))
    costs = torch.stack([cost, cost.T, 3.0 * cost])
    together = sinkhorn(costs, a, b, reg=0.1)
    for plan, one in zip(together, costs, strict=True):
        torch.testing.assert_close(plan, sinkhorn(one, a, b, reg=0.1), rtol=1e-7, atol=1e-12)


def test_plans_have_the_type_of_the_costs() -> None:
    cost, a, b = (tensor.float() for tensor in tensors(*problem(7, 6)))
    for plan in (sinkhorn(cost, a, b, 0.1), unbalanced_sinkhorn(cost, a, b, 0.1, 0.5)):
        assert plan.dtype == torch.float32


def test_gradients_of_both_plans_are_those_of_finite_differences() -> None:
    cost, a, b = tensors(*problem(4, 3))
    cost.requires_grad_()
    assert torch.autograd.gradcheck(lambda c: sinkhorn(c, a, b, 0.3), cost)
    assert torch.autograd.gradcheck(lambda c: unbalanced_sinkhorn(c, a, b, 0.3, 0.5), cost)


def test_the_mass_moves_more_freely_the_less_a_marginal_costs() -> None:
    cost, a, b = tensors(*problem(20, 6))
    masses = [unbalanced_sinkhorn(cost, a, b, 0.1, price).sum().item() for price in (50.0, 5.0)]
    assert abs(masses[0] - 1.0) < abs(masses[1] - 1.0)


@pytest.mark.gpu
def test_plans_on_a_gpu_are_those_on_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_cpu = tensors(*problem(200, 6))
    on_gpu = [tensor.cuda() for tensor in on_cpu]
    for solve in (lambda p: sinkhorn(*p, 0.1), lambda p: unbalanced_sinkhorn(*p, 0.1, 0.5)):
        torch.testing.assert_close(solve(on_gpu).cpu(), solve(on_cpu))
