"""AUROC, recall at few false positives and calibration error, with intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from autosteer_core.metrics import auroc, estimates, recall_at_1pct, recall_at_5pct


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=2, max_size=60))
def test_auroc_is_the_published_one_ties_included(rows: list[tuple[float, bool]]) -> None:
    risk_N, harmful_N = np.array([risk for risk, _ in rows]), np.array([label for _, label in rows])

    found = auroc(risk_N, harmful_N)

    if len(set(harmful_N)) == 2:
        assert found == pytest.approx(roc_auc_score(harmful_N, risk_N))
    else:
        assert math.isnan(found)


def test_recall_allows_exactly_its_share_of_false_positives() -> None:
    benign, harmful = np.arange(100) / 100, np.array([0.945, 0.955, 0.985, 0.995])
    risk_N, harmful_N = np.concatenate([benign, harmful]), np.repeat([False, True], [100, 4])

    assert recall_at_1pct(risk_N, harmful_N) == 0.25
    assert recall_at_5pct(risk_N, harmful_N) == 0.75


def test_intervals_hold_the_value_and_shrink_with_rows() -> None:
    widths = []
    for rows in (100, 1600):
        generator = np.random.default_rng(3)
        harmful_N = np.arange(rows) % 2 == 0
        risk_N = np.clip(generator.normal(0.4 + 0.2 * harmful_N, 0.2), 0, 1)
        for estimate in estimates(risk_N, harmful_N, [str(row) for row in range(rows)], seed=0).values():
            assert estimate.interval[0] <= estimate.value <= estimate.interval[1] or estimate.value < 0.2
        found = estimates(risk_N, harmful_N, [str(row) for row in range(rows)], seed=0)["AUROC"]
        widths.append(found.interval[1] - found.interval[0])

    assert widths[1] < widths[0] / 2


def test_rows_of_a_unit_are_drawn_together() -> None:
    """Ten copies of every row say no more than one: the interval must not become narrower."""
    generator = np.random.default_rng(1)
    harmful_N = np.arange(60) % 2 == 0
    risk_N = np.clip(generator.normal(0.4 + 0.1 * harmful_N, 0.2), 0, 1)
    units = [str(row) for row in range(60)]

    once = estimates(risk_N, harmful_N, units, seed=0)["AUROC"]
    copied = estimates(np.tile(risk_N, 10), np.tile(harmful_N, 10), units * 10, seed=0)["AUROC"]

    assert copied.interval == pytest.approx(once.interval)


def test_the_same_seed_gives_the_same_intervals() -> None:
    risk_N, harmful_N = np.linspace(0, 1, 40), np.arange(40) > 15
    units = [str(row) for row in range(40)]

    assert estimates(risk_N, harmful_N, units, 5) == estimates(risk_N, harmful_N, units, 5)
