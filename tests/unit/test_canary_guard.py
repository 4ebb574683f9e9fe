"""The guard's test: counts decide, not when one looks; and what is far outside the limits is found soon."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.canary_guard import Counts, GuardLimits, alarm, breach, log_evidence

LIMITS = GuardLimits(opened=0.2, closed=0.05, failed=0.02, level=0.03)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(rows=40, opened=30), "30 of 40 gates are open that were closed, at most 20.0% may be"),
        (Counts(rows=40, closed=20), "20 of 40 gates are closed that were open, at most 5.0% may be"),
        (Counts(rows=400, decided=30, failed=15), "15 of 30 rows failed for want of a number, at most 2.0% may be"),
        (Counts(rows=400, no_number=1), "1 of 400 rows have a risk that is no number"),
    ],
)
def test_what_is_far_outside_a_limit_is_named(counts: Counts, reason: str) -> None:
    assert breach(counts, LIMITS) == reason


@pytest.mark.parametrize(
    "counts", [Counts(), Counts(rows=10_000, opened=2_000, closed=500, decided=1_000, failed=20), Counts(1, 1)]
)
def test_what_is_at_its_limit_or_may_be_chance_goes_on(counts: Counts) -> None:
    assert breach(counts, LIMITS) is None


@given(rows=st.integers(0, 12), limit=st.floats(0.01, 0.9))
def test_at_the_limit_the_evidence_is_one_on_average(rows: int, limit: float) -> None:
    """Over all ways in which so many rows can come out: that is what the promise rests on."""
    ways = np.array([[way >> row & 1 for row in range(rows)] for way in range(2**rows)]).reshape(2**rows, rows)
    hits = ways.sum(axis=1)
    chance = limit**hits * (1 - limit) ** (rows - hits)

    assert float((chance * np.exp(log_evidence(hits, rows, limit))).sum()) == pytest.approx(1.0)


@given(rows=st.integers(1, 5_000), data=st.data())
def test_more_hits_are_more_evidence(rows: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, rows - 1))
    assert log_evidence(hits + 1, rows, 0.1) > log_evidence(hits, rows, 0.1)


def test_a_look_after_every_row_alarms_no_more_than_the_level_and_a_fixed_test_does() -> None:
    """At the limit itself; the control is the test for one look, taken again and again."""
    runs, rows, limit, level = 400, 1_000, 0.2, 0.05
    hits = np.cumsum(np.random.default_rng(0).random((runs, rows)) < limit, axis=1)
    seen = np.arange(1, rows + 1)

    ours = alarm(hits, seen, limit, level).any(axis=1).mean()
    fixed = ((hits - limit * seen) / np.sqrt(seen * limit * (1 - limit)) > 1.645)[:, 30:].any(axis=1).mean()

    assert ours <= level < 0.2 < fixed


def test_counts_of_two_runs_add_up() -> None:
    assert Counts(1, 2, 3, 4, 5, 6) + Counts(10, 20, 30, 40, 50, 60) == Counts(11, 22, 33, 44, 55, 66)
