"""Exact binomial bounds and the threshold that meets them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from autosteer_core.errors import UserMistake
from autosteer_core.guarantee import Bounds, choose_threshold, events_allowed, trials_needed, upper_limit


@given(st.integers(1, 300), st.data())
def test_the_upper_limit_solves_the_binomial_tail(trials: int, data: st.DataObject) -> None:
    events = data.draw(st.integers(0, trials - 1))

    limit = upper_limit(events, trials, delta=0.05)

    assert binom.cdf(events, trials, limit) == pytest.approx(0.05, rel=1e-6)


def test_zero_misses_of_59_prove_five_percent() -> None:
    assert trials_needed(0.05, 0.05) == 59
    assert upper_limit(0, 59, 0.05) <= 0.05 < upper_limit(0, 58, 0.05)


def test_the_threshold_is_the_largest_that_keeps_the_bound() -> None:
    risk = np.linspace(0.01, 0.99, 99)

    found = choose_threshold(risk, np.array([0.001, 0.5]), alpha=0.1, delta=0.05)

    assert upper_limit(found.missed, 99, 0.05) <= 0.1 < upper_limit(found.missed + 1, 99, 0.05)
    assert found.missed == (risk < found.threshold).sum()
    assert found.false_refusals == 1


def test_ties_at_the_threshold_count_as_caught() -> None:
    found = choose_threshold(np.full(60, 0.7), np.array([0.1]), alpha=0.05, delta=0.05)

    assert (found.threshold, found.missed) == (0.7, 0)


def test_too_few_harmful_items_are_refused_with_the_number_needed() -> None:
    with pytest.raises(UserMistake, match="20 harmful items .* needs at least 29"):
        choose_threshold(np.full(20, 0.9), np.array([0.1]), alpha=0.1, delta=0.05)


def test_the_bound_holds_in_at_least_95_of_100_worlds() -> None:
    worlds = np.random.default_rng(0)
    broken = 0
    for _ in range(400):
        found = choose_threshold(worlds.random(80), np.array([0.0]), alpha=0.1, delta=0.05)
        broken += found.threshold > 0.1  # risk is uniform, so the true miss rate is the threshold itself

    assert broken / 400 <= 0.05 + 0.03


def test_bounding_false_refusals_gives_the_smallest_threshold_that_keeps_it() -> None:
    benign = np.linspace(0.01, 0.99, 99)

    found = choose_threshold(np.array([0.5, 0.999]), benign, alpha=0.1, delta=0.05, bounds=Bounds.FALSE_REFUSALS)

    assert found.false_refusal_bound <= 0.1 < upper_limit(found.false_refusals + 1, 99, 0.05)
    assert found.false_refusals == (benign >= found.threshold).sum()
    assert found.missed == 1


def test_a_benign_item_at_the_edge_is_let_through_even_where_many_tie() -> None:
    found = choose_threshold(np.array([0.9]), np.full(60, 0.7), alpha=0.05, delta=0.05, bounds=Bounds.FALSE_REFUSALS)

    assert (found.false_refusals, found.missed) == (0, 0)


@given(st.integers(1, 400))
def test_one_more_event_than_allowed_breaks_the_bound(trials: int) -> None:
    allowed = events_allowed(trials, 0.1, 0.05)

    assert upper_limit(allowed + 1, trials, 0.05) > 0.1
    assert allowed < 0 or upper_limit(allowed, trials, 0.05) <= 0.1
