"""Losses of survival networks, all scalars to be minimised.

Patients are rows. `is_censored` is 1 or true where the event was not seen and 0 where it happened;
a time bin is a whole number from 0 (`survival_bins`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def nll_survival(
    hazards: Tensor,
    survival: Tensor,
    time_bin: Tensor,
    is_censored: Tensor,
    alpha: float = 0.0,
    eps: float = 1e-7,
) -> Tensor:
    """Mean negative log-likelihood of discrete time (Zadeh & Schmid 2020), as published with MCAT.

    An event has the hazard of its bin after survival of those before; a censored patient survived
    its bin. A probability below `eps` counts as `eps` and has no gradient, which
    `nll_survival_with_logits` has everywhere: it is the one to train with.

    Args:
        hazards: float (patients, bins).
        survival: float (patients, bins), the cumulative product of 1 - hazards.
        time_bin: int (patients,), of the event or the censoring.
        is_censored: (patients,).
        alpha: share by which censored patients count less, in [0, 1].
        eps: least probability.
    """
    return _nll(
        hazards.clamp(min=eps).log(),
        F.pad(survival, (1, 0), value=1.0).clamp(min=eps).log(),
        time_bin,
        is_censored,
        alpha,
    )


def nll_survival_with_logits(
    logits: Tensor, time_bin: Tensor, is_censored: Tensor, alpha: float = 0.0
) -> Tensor:
    """`nll_survival` of hazards sigmoid(logits), exact however near to 0 or 1 they are.

    Args:
        logits: float (patients, bins).
        time_bin: int (patients,).
        is_censored: (patients,).
        alpha: share by which censored patients count less, in [0, 1].
    """
    log_survival = F.pad(F.logsigmoid(-logits).cumsum(dim=1), (1, 0))
    return _nll(F.logsigmoid(logits), log_survival, time_bin, is_censored, alpha)


def _nll(
    log_hazards: Tensor, log_survival: Tensor, time_bin: Tensor, is_censored: Tensor, alpha: float
) -> Tensor:
    """From logarithms, (patients, bins) and, with survival at the start, (patients, bins + 1)."""
    bins, censored = time_bin.reshape(-1, 1).long(), is_censored.reshape(-1).to(log_hazards.dtype)
    log_event = (log_survival.gather(1, bins) + log_hazards.gather(1, bins)).squeeze(1)
    log_beyond = log_survival.gather(1, bins + 1).squeeze(1)
    loss = -(1.0 - censored) * log_event - (1.0 - alpha) * censored * log_beyond
    return loss.mean()


def ce_survival(
    hazards: Tensor,
    survival: Tensor,
    time_bin: Tensor,
    is_censored: Tensor,
    alpha: float = 0.0,
    eps: float = 1e-7,
) -> Tensor:
    """Mean cross-entropy of having survived the bin, and a share `alpha` of the event's likelihood.

    As published with MCAT (`CrossEntropySurvLoss`); the arguments are those of `nll_survival`.
    """
    bins, censored = time_bin.reshape(-1, 1).long(), is_censored.reshape(-1).to(hazards.dtype)
    survived = survival.gather(1, bins).squeeze(1)  # (patients,)
    # The reference adds eps to this probability, and clamps the others at it.
    log_reached = (F.pad(survival, (1, 0), value=1.0).gather(1, bins).squeeze(1) + eps).log()
    log_event = log_reached + hazards.gather(1, bins).squeeze(1).clamp(min=eps).log()
    cross_entropy = censored * survived.clamp(min=eps).log() + (1.0 - censored) * (
        (1.0 - survived).clamp(min=eps).log()
    )
    return -((1.0 - alpha) * cross_entropy + alpha * (1.0 - censored) * log_event).mean()


def cox_partial(
    log_risk: Tensor,
    time: Tensor,
    is_censored: Tensor,
    ties: Literal["breslow", "efron"] = "breslow",
) -> Tensor:
    """Negative log partial likelihood of Cox, a mean over all patients (Cox 1972).

    Events of the same time are each compared with all that were at risk then ("breslow", as
    published), or with that less the mean share of those that came before it ("efron").

    Args:
        log_risk: float (patients,), the higher, the sooner the event.
        time: of event or censoring, (patients,).
        is_censored: (patients,).
        ties: how events of the same time count.

    Raises:
        ValueError: `ties` is neither.
    """
    if ties not in ("breslow", "efron"):
        raise ValueError(f"ties must be breslow or efron, got {ties!r}")
    theta, time = log_risk.reshape(-1), time.reshape(-1)
    event = 1.0 - is_censored.reshape(-1).to(theta.dtype)
    weight = (time[None, :] >= time[:, None]).to(theta.dtype)  # of j in the risk set of i
    if ties == "efron":
        tied_events = (time[None, :] == time[:, None]) * event  # (patients, patients)
        earlier = tied_events.tril(diagonal=-1).sum(dim=1)
        share = earlier / tied_events.sum(dim=1).clamp(min=1.0)
        weight = weight - share[:, None] * tied_events
    log_at_risk = (theta[None, :] + weight.log()).logsumexp(dim=1)  # (patients,)
    return -((theta - log_at_risk) * event).mean()


def multi_task(first: Tensor, second: Tensor, gamma: float = 0.5) -> Tensor:
    """A share gamma of the first loss and the rest of the second: grade and survival in SMuRF."""
    return gamma * first + (1.0 - gamma) * second


def mmo(embeddings: Sequence[Tensor]) -> Tensor:
    """How far the modalities of a batch are from orthogonal: multimodal orthogonalisation.

    After Braman et al. 2021 (Deep Orthogonal Fusion). The nuclear norm of all modalities side by
    side is that of each, summed, only where they are orthogonal: then the loss is 0, and else more.
    A norm counts as 1 at least, so that no modality shrinks to nothing. The code of SMuRF weighs
    only the sum by the number of modalities, which leaves the loss without a lower bound.

    Args:
        embeddings: of each modality, float (patients, dim of the modality).
    """
    alone = sum(_nuclear_norm(embedding).clamp(min=1.0) for embedding in embeddings)
    together = _nuclear_norm(torch.cat(list(embeddings), dim=1))
    return (alone - together) / (len(embeddings) * len(embeddings[0]))


def _nuclear_norm(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix).sum()
