"""What a discrete-time survival network says of its patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class SurvivalOutput:
    """Hazards over time bins and what follows from them (Zadeh & Schmid 2020).

    `logits` and all that follows are float (patients, bins): `hazards` is the probability of the
    event within a bin for those who reached it, `survival` that to be free of it past the bin's
    end. `risk`, (patients,), is -sum of `survival`: the higher, the sooner the event. `attention`
    holds the network's maps by name, as its docstring says.
    """

    logits: Tensor
    hazards: Tensor
    survival: Tensor
    risk: Tensor
    attention: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_logits(
        cls, logits: Tensor, attention: Mapping[str, Tensor] | None = None
    ) -> SurvivalOutput:
        """The output of a network whose last layer gave `logits`, float (patients, bins)."""
        hazards = logits.sigmoid()  # (patients, bins)
        survival = (1.0 - hazards).cumprod(dim=1)  # (patients, bins)
        return cls(logits, hazards, survival, -survival.sum(dim=1), attention or {})
