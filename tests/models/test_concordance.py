"""The concordance index equals that of lifelines and of a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index as lifelines_index

from tumorbase.models.concordance import concordance_index


@pytest.mark.parametrize("seed", range(5))
def test_index_equals_lifelines_with_ties_in_time_and_risk(seed):
    rng = np.random.default_rng(seed)
    time_days = rng.integers(1, 40, 700).astype(float)
    is_event = rng.random(700) < 0.6
    risk = rng.integers(0, 12, 700) - 0.2 * time_days.round(-1)
    expected = lifelines_index(time_days, -risk, is_event)
    assert concordance_index(time_days, is_event, risk) == pytest.approx(expected, abs=1e-12)


def test_higher_risk_with_earlier_event_is_concordant():
    time_days, is_event = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    assert concordance_index(time_days, is_event, np.array([3.0, 2.0, 1.0])) == 1.0
    assert concordance_index(time_days, is_event, np.array([1.0, 2.0, 3.0])) == 0.0


def test_tied_risks_count_one_half():
    assert concordance_index(np.arange(4.0), np.ones(4, bool), np.zeros(4)) == 0.5


def test_pairs_whose_shorter_time_is_censored_do_not_count():
    time_days, is_event = np.array([1.0, 2.0, 3.0]), np.array([False, True, False])
    assert concordance_index(time_days, is_event, np.array([9.0, 1.0, 0.0])) == 1.0


def test_no_comparable_pair_is_refused():
    with pytest.raises(ValueError, match="no comparable pair"):
        concordance_index(np.arange(3.0), np.zeros(3, bool), np.arange(3.0))


def test_a_risk_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="expected risks, got NaN for 1 patients"):
        concordance_index(np.arange(3.0), np.ones(3, bool), np.array([1.0, np.nan, 0.0]))
