"""Harrell's concordance index: how often the patient with the higher risk has the event sooner."""

from __future__ import annotations

import numpy as np

_EVENTS_PER_BLOCK = 256  # bounds memory at this many rows of n comparisons


def concordance_index(time_days: np.ndarray, is_event: np.ndarray, risk: np.ndarray) -> float:
    """Share of comparable pairs that `risk` orders rightly, ties in risk counted one half.

    A pair is comparable if the one with the shorter time had the event; at equal times, if one had
    the event and the other was censored, who then counts as the longer survivor. (Harrell et al.
    1982; the pairs are those of lifelines.)

    Args:
        time_days: time to event or censoring, (n,).
        is_event: whether the event happened, bool (n,).
        risk: the higher, the sooner the event, (n,).

    Returns:
        In [0, 1]; 0.5 for a risk that says nothing.

    Raises:
        ValueError: no pair is comparable, or a risk is not a number.
    """
    if np.isnan(risk).any():  # it would count as wrong in every pair
        raise ValueError(f"expected risks, got NaN for {int(np.isnan(risk).sum())} patients")
    is_event = np.asarray(is_event, dtype=bool)
    event_rows = np.flatnonzero(is_event)
    comparable = 0
    concordant = 0.0
    for start in range(0, len(event_rows), _EVENTS_PER_BLOCK):
        block = event_rows[start : start + _EVENTS_PER_BLOCK, None]  # (events, 1)
        outlives = (time_days > time_days[block]) | ((time_days == time_days[block]) & ~is_event)
        comparable += int(outlives.sum())
        concordant += float((outlives & (risk < risk[block])).sum())
        concordant += 0.5 * float((outlives & (risk == risk[block])).sum())
    if comparable == 0:
        raise ValueError("no comparable pair: no patient outlives another one's event")
    return concordant / comparable
