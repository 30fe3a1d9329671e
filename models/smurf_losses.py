"""What SMuRF is trained by: grade and outcome together (Song et al. 2025)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tumorbase.models.survival_losses import cox_partial, multi_task


def smurf_loss(
    grade_logits: Tensor,
    hazard: Tensor,
    grade: Tensor,
    time: Tensor,
    is_censored: Tensor,
    gamma: float = 0.5,
) -> Tensor:
    """A share gamma of the grade's cross-entropy and the rest of Cox's partial likelihood.

    Args:
        grade_logits: float (patients,).
        hazard: in (0, 1), taken for the logarithm of a hazard as published, (patients,).
        grade: 1 where it is high, else 0, (patients,).
        time: of event or censoring, (patients,).
        is_censored: (patients,).
        gamma: in [0, 1].
    """
    cross_entropy = F.binary_cross_entropy_with_logits(grade_logits, grade.to(grade_logits.dtype))
    return multi_task(cross_entropy, cox_partial(hazard, time, is_censored), gamma)


def smurf_loss_as_published(
    grade_logits: Tensor,
    hazard: Tensor,
    grade: Tensor,
    time: Tensor,
    is_censored: Tensor,
    gamma: float = 0.5,
) -> Tensor:
    """`smurf_loss` of logits through a sigmoid too many, so that no grade is ever certain.

    The published network puts out probabilities, which its loss then takes for logits.
    """
    return smurf_loss(grade_logits.sigmoid(), hazard, grade, time, is_censored, gamma)
