"""Entropic optimal transport: how much goes from each of n places to each of m at least cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinkhorn(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    reg: float,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
) -> Tensor:
    """The plan that takes all of `a` to `b`, by Sinkhorn's iteration of its logarithm.

    Of all plans with these marginals the one that minimises <cost, plan> - reg * entropy(plan):
    Kantorovich's problem as `reg` goes to 0 (Peyre & Cuturi 2019, equation 4.2 and section 4.4).
    A small `reg` needs more iterations, but never leaves the range of numbers. Gradients flow
    through the iteration, which is done in float64.

    Args:
        cost: float (..., n, m).
        a: what leaves each place, float (..., n), all positive.
        b: what arrives at each place, float (..., m), all positive, with the sum of `a`.
        reg: weight of the entropy, in the unit of the costs.
        tolerance: stop where no row's sum is off by more than this share of its `a`.
        max_iterations: stop here in any case; columns have their sums at any time.

    Returns:
        (..., n, m), of the type of the costs.
    """
    log_a, log_b = a.double().log()[..., :, None], b.double().log()[..., None, :]
    log_plan = cost.double() / -reg  # (..., n, m)
    for _ in range(max_iterations):
        log_off = log_plan.logsumexp(dim=-1, keepdim=True) - log_a  # (..., n, 1)
        if bool((log_off.abs() <= tolerance).all()):
            break
        log_plan = log_plan - log_off
        log_plan = log_plan - log_plan.logsumexp(dim=-2, keepdim=True) + log_b
    return log_plan.exp().to(cost.dtype)


def unbalanced_sinkhorn(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    reg: float,
    reg_marginal: float,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
) -> Tensor:
    """The plan that may leave some of `a` and bring more or less than `b`, at a price.

    It minimises <cost, plan> - reg * entropy(plan) + reg_marginal * (KL of its row sums from `a` +
    KL of its column sums from `b`), entropy(p) being -sum p (log p - 1) (Chizat et al. 2018). That
    is POT's `sinkhorn_knopp_unbalanced` with reg_type "entropy", the default of its version 0.9.3
    and what MOTCat used; with "kl", the default of 0.9.7, the entropy is that against a b^T, and
    plans differ.

    Gradients flow through the iteration, which is done in float64.

    Args:
        cost: float (n, m).
        a: what there is at each place, float (n,), all positive.
        b: what is wanted at each place, float (m,), all positive.
        reg: weight of the entropy, in the unit of the costs.
        reg_marginal: price of a wrong marginal, in the unit of the costs.
        tolerance: stop where no scaling of a column changes by more than this share.
        max_iterations: stop here in any case.

    Returns:
        (n, m), of the type of the costs.

    Raises:
        ValueError: `reg` is so small that exp(-cost / reg) leaves the range of numbers.
    """
    a, b = a.double(), b.double()
    # Transposed, as there are far more rows than columns: products then run along memory.
    kernel = torch.exp(cost.double().T.contiguous() / -reg)  # (m, n)
    power = reg_marginal / (reg_marginal + reg)
    v = torch.ones_like(b)
    for _ in range(max_iterations):
        reached = v @ kernel  # (n,)
        u = (a / reached) ** power
        # Rows and columns pull the mass of the plan to and fro, which is the slow part of the
        # iteration. What both agree on is known, and set at once (Sejourne, Vialard & Peyre 2022).
        surplus = (u @ reached) / (b @ v ** (-reg / reg_marginal))
        u = u * surplus ** (reg_marginal / (2.0 * reg))
        before, v = v, (b / (kernel @ u)) ** power
        change = (v / before).log().abs().max().item()
        if not math.isfinite(change):
            raise ValueError(f"reg must be larger for costs up to {cost.max().item()}, got {reg}")
        if change <= tolerance:
            break
    return (v[:, None] * kernel * u).T.to(cost.dtype)
