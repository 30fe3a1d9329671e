"""Transport and co-attention of a bag of 20,000 patches with six groups of genes: milliseconds and
peak memory, beside POT's solvers and torch's attention on the same tensors in the same run.

    python benchmarks/optimal_transport.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import ot
import torch
from torch import Tensor, nn

from tumorbase.models.coattention import CoAttention
from tumorbase.models.motcat import Transport, TransportCoAttention, transport_cost
from tumorbase.models.optimal_transport import sinkhorn, unbalanced_sinkhorn

DIM = 256
GROUPS = 6
REG = Transport().reg
REG_MARGINAL = Transport().reg_marginal
REPEATS = 9


def unbalanced(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """MOTCat's plan by ours."""
    return unbalanced_sinkhorn(cost, a, b, REG, REG_MARGINAL)


def unbalanced_pot(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The same by POT in NumPy."""
    return torch.from_numpy(_pot(a.numpy(), b.numpy(), cost.numpy()))


def unbalanced_pot_torch(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The same by POT on torch."""
    return _pot(a, b, cost)


def balanced(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The plan that moves all, in logarithms, by ours."""
    return sinkhorn(cost, a, b, REG)


def balanced_pot_log(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The same by POT in logarithms."""
    return torch.from_numpy(ot.bregman.sinkhorn_log(a.numpy(), b.numpy(), cost.numpy(), REG))


def balanced_pot(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The same by POT by scaling, which leaves the range of numbers where costs are large."""
    return torch.from_numpy(ot.sinkhorn(a.numpy(), b.numpy(), cost.numpy(), REG))


def transport_attention(genes: Tensor, bag: Tensor) -> Tensor:
    """MOTCat's co-attention: costs, plan, and what each group sees."""
    return TransportCoAttention(Transport())(genes, bag)[0]


def transport_attention_pot(genes: Tensor, bag: Tensor) -> Tensor:
    """The same as published: distances of shifted copies, and POT's plan."""
    shifted = [vectors - vectors.amin(dim=1, keepdim=True) for vectors in (bag, genes)]
    cost = torch.cdist(*shifted).square().double()
    plan = unbalanced_pot(cost / cost.max(), *_shares(cost))
    return plan.to(bag.dtype).T @ bag


@torch.no_grad()
def attention(genes: Tensor, bag: Tensor) -> Tensor:
    """MCAT's co-attention."""
    return _with_torch_weights(CoAttention(DIM))(genes, bag)[0]


@torch.no_grad()
def attention_torch(genes: Tensor, bag: Tensor) -> Tensor:
    """The same by torch, weights and all."""
    return _with_torch_weights(nn.MultiheadAttention(DIM, 1))(genes, bag, bag)[0]


@dataclass(frozen=True)
class Task:
    """What is made of genes and a bag beforehand, and who goes on from there: ours first."""

    prepare: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    solvers: tuple[Callable[..., Tensor], ...]


def as_they_are(genes: Tensor, bag: Tensor) -> tuple[Tensor, ...]:
    """Genes and bag."""
    return genes, bag


def as_problem(genes: Tensor, bag: Tensor) -> tuple[Tensor, ...]:
    """Costs in [0, 1], and equal shares of patches and of groups, float64."""
    cost = transport_cost(bag, genes).double()
    return cost / cost.max(), *_shares(cost)


TASKS = {
    "unbalanced_plan": Task(as_problem, (unbalanced, unbalanced_pot, unbalanced_pot_torch)),
    "balanced_plan": Task(as_problem, (balanced, balanced_pot_log, balanced_pot)),
    "transport_coattention": Task(as_they_are, (transport_attention, transport_attention_pot)),
    "coattention": Task(as_they_are, (attention, attention_torch)),
}


def main() -> None:
    """Print the measurements as one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    report: dict[str, object] = {"patches": options.patches, "threads": options.threads}
    for name, task in TASKS.items():
        answers, figures = zip(
            *(_in_process(task, solve, options.patches, options.threads) for solve in task.solvers),
            strict=True,
        )
        for answer, measured in zip(answers[1:], figures[1:], strict=True):
            ratio = measured["milliseconds"] / figures[0]["milliseconds"]
            deviation = np.abs(answer - answers[0]).max() / np.abs(answer).max()
            measured |= {"times_as_slow": round(ratio, 1), "deviation": float(f"{deviation:.1e}")}
        solvers = [solve.__name__ for solve in task.solvers]
        report[name] = dict(zip(solvers, figures, strict=True))
    print(json.dumps(report, indent=1))


def _in_process(
    task: Task, solve: Callable[..., Tensor], patches: int, threads: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Answer, time and memory of one solver, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (task, solve, patches, threads))


def _measure(
    task: Task, solve: Callable[..., Tensor], patches: int, threads: int
) -> tuple[np.ndarray, dict[str, float]]:
    warnings.filterwarnings("ignore", "If reg_type = entropy")
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    bag = torch.randn(patches, DIM, generator=generator).relu()
    genes = torch.randn(GROUPS, DIM, generator=generator)
    solve(*task.prepare(genes, bag[:64]))  # libraries load and allocate
    problem = task.prepare(genes, bag)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory_mib("VmRSS")
    answer = solve(*problem)
    peak = _memory_mib("VmHWM") - before
    seconds = []
    for _ in range(REPEATS):
        started = perf_counter()
        solve(*problem)
        seconds.append(perf_counter() - started)
    figures = {"milliseconds": round(1e3 * min(seconds), 2), "peak_mib": round(peak, 1)}
    return answer.double().numpy(), figures


def _memory_mib(field: str) -> float:
    """Resident memory of this process, by VmRSS of /proc/self/status, or its peak, by VmHWM."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _shares(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Equal shares of all rows and of all columns."""
    rows, columns = cost.shape
    return cost.new_full((rows,), 1.0 / rows), cost.new_full((columns,), 1.0 / columns)


def _pot(a: Any, b: Any, cost: Any) -> Any:
    return ot.unbalanced.sinkhorn_knopp_unbalanced(
        a, b, cost, REG, REG_MARGINAL, reg_type="entropy"
    )


def _with_torch_weights(module: nn.Module) -> nn.Module:
    """The module with the weights that torch's attention starts with after seed 0."""
    torch.manual_seed(0)
    module.load_state_dict(nn.MultiheadAttention(DIM, 1).state_dict())
    return module


if __name__ == "__main__":
    main()
