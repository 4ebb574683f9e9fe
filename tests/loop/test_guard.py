"""How often the guard is wrong, and how soon it is right, in numbers."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from autosteer_core.canary_guard import Counts, GuardLimits, alarm, breach
from tests.loop.scale import SEED, scaled

pytestmark = pytest.mark.loop

Report = Callable[[str, object], None]
LIMITS = GuardLimits()
RUNS, ROWS = scaled(10_000), 5_000


def hits_of(share: float, runs: int, seed: int) -> Iterator[np.ndarray]:
    """Hits after every row, of some runs at once: (runs, ROWS)."""
    random = np.random.default_rng([SEED, seed])
    for start in range(0, runs, 100):
        yield np.cumsum(random.random((min(100, runs - start), ROWS)) < share, axis=1)


def fewest_hits(limit: float) -> np.ndarray:
    """That are an alarm after 1, 2, ... ROWS rows, ROWS + 1 where none are: more hits are never less evidence."""
    seen = np.arange(1, ROWS + 1)
    low, high = np.zeros(ROWS, np.int64), seen + 1
    while (low < high).any():
        middle = (low + high) // 2
        enough = alarm(np.minimum(middle, seen), seen, limit, LIMITS.level / 3) | (middle > seen)
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    return np.where(low > seen, ROWS + 1, low)


def test_false_alarms_of_runs_at_every_limit_are_no_more_than_the_level(report: Report) -> None:
    """Every measure as bad as it may be, looked at after each of 5,000 rows; the control has no such promise."""
    seen = np.arange(1, ROWS + 1)
    alarmed, fixed = np.zeros(RUNS, np.bool_), np.zeros(RUNS, np.bool_)
    for number, limit in enumerate((LIMITS.opened, LIMITS.closed, LIMITS.failed)):
        boundary = fewest_hits(limit)
        for block, hits in enumerate(hits_of(limit, RUNS, number)):
            rows = slice(100 * block, 100 * block + len(hits))
            alarmed[rows] |= (hits >= boundary).any(axis=1)
            score = (hits - limit * seen) / np.sqrt(seen * limit * (1 - limit))
            fixed[rows] |= (score[:, 200:] > 2.713).any(axis=1)  # one-sided at the same level, for one look

    report(f"guard: false alarms of {RUNS} runs of {ROWS} rows", f"{alarmed.mean():.3%} (level {LIMITS.level:.1%})")
    report("guard: the same with a test for one look, after every row", f"{fixed.mean():.1%}")
    assert alarmed.mean() <= LIMITS.level
    assert fixed.mean() > 5 * LIMITS.level


@pytest.mark.parametrize(
    ("what", "limit", "share", "most"),
    [
        ("half of all gates open", LIMITS.opened, 0.5, 150),
        ("35 % of all gates open", LIMITS.opened, 0.35, 1_000),
        ("a fifth of all gates close", LIMITS.closed, 0.2, 150),
        ("one row in ten fails", LIMITS.failed, 0.1, 200),
    ],
)
def test_a_breach_is_found_within_rows(report: Report, what: str, limit: float, share: float, most: int) -> None:
    boundary, found = fewest_hits(limit), []
    for hits in hits_of(share, scaled(1_000), 9):
        alarms = hits >= boundary
        found += [int(at) + 1 if any_ else ROWS + 1 for at, any_ in zip(alarms.argmax(1), alarms.any(1), strict=True)]

    median, late = np.percentile(found, [50, 99])
    report(f"guard: {what}: rows until it is found", f"median {median:.0f}, 99 % within {late:.0f}")
    assert late <= most


def test_the_first_risk_that_is_no_number_is_a_breach(report: Report) -> None:
    counts = Counts(rows=1_000_000)
    assert breach(counts, LIMITS) is None
    assert breach(counts + Counts(rows=1, no_number=1), LIMITS) is not None
    report("guard: rows until a risk that is no number is found", 1)
