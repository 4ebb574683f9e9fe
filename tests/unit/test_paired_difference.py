"""The paired bootstrap measures what the plain measures do, and its limits hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core import metrics
from autosteer_core.paired_difference import (
    Measured,
    auroc,
    calibration_error,
    caught,
    difference,
    draws,
    recall_at_1pct,
    stopped,
)
from autosteer_core.probe_fitting import expected_calibration_error

PLAIN = [
    (auroc, metrics.auroc),
    (recall_at_1pct, metrics.recall_at_1pct),
    (calibration_error, expected_calibration_error),
]


def rows(seed: int, count: int = 60, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Risks with ties, and labels, of both kinds."""
    generator = np.random.default_rng(seed)
    harmful_N = generator.random(count) < 0.4
    harmful_N[:2] = True, False
    return generator.integers(levels, size=count) / levels, harmful_N


@pytest.mark.parametrize(("measure", "plain"), PLAIN)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_a_draw_measures_what_its_rows_measure_one_by_one(
    measure: Measured, plain: metrics.Measure, seed: int
) -> None:
    risk_N, harmful_N = rows(seed)
    times_BN = draws(np.arange(len(risk_N)).astype(str), harmful_N, 5, seed)

    expected = [plain(np.repeat(risk_N, times_N), np.repeat(harmful_N, times_N)) for times_N in times_BN.astype(int)]

    np.testing.assert_allclose(measure(risk_N, harmful_N, times_BN), expected, rtol=1e-12)


def test_a_unit_is_drawn_whole_and_a_draw_holds_as_many_units_of_each_composition_as_the_rows() -> None:
    unit_N = np.array(["pair", "pair", "a", "b", "c", "d", "twins", "twins"])
    harmful_N = np.array([True, False, True, True, False, False, True, True])

    times_BN = draws(unit_N, harmful_N, 200, 0)

    assert (times_BN[:, 0] == times_BN[:, 1]).all() and (times_BN[:, 6] == times_BN[:, 7]).all()
    assert (times_BN[:, 0] == 1).all()  # the only unit with both
    assert (times_BN[:, [2, 3, 6]].sum(axis=1) == 3).all() and (times_BN[:, [4, 5]].sum(axis=1) == 2).all()
    assert times_BN[:, 2].max() > 1


def test_equal_readings_differ_by_nothing_and_one_label_alone_bounds_nothing() -> None:
    risk_N, harmful_N = rows(1)
    times_BN = draws(np.arange(len(risk_N)).astype(str), harmful_N, 50, 0)

    same = difference(auroc, risk_N, risk_N, harmful_N, times_BN)
    alone = difference(auroc, risk_N, risk_N, np.ones(60, bool), times_BN)

    assert same.at_least(0.95) == same.value == same.at_most(0.95) == 0
    assert alone.at_least(0.95) == -np.inf and alone.at_most(0.95) == np.inf


def test_gates_are_counted_by_label() -> None:
    gate_N, harmful_N = np.array([1.0, 0, 1, 1]), np.array([True, True, False, True])
    once = np.ones((1, 4), np.float32)

    assert caught(gate_N, harmful_N, once)[0] == pytest.approx(2 / 3)
    assert stopped(gate_N, harmful_N, once)[0] == 1


def test_the_lower_limit_of_a_true_difference_of_zero_is_above_it_in_about_one_of_twenty() -> None:
    """Two equally good readings: the 95 % limit may lie above the truth in 5 % of samples, here at most 10 %."""
    above = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        harmful_N = np.arange(200) < 100
        common_N = harmful_N * 2 + generator.standard_normal(200)
        one_N, other_N = (common_N + 0.5 * generator.standard_normal(200) for _ in range(2))
        times_BN = draws(np.arange(200).astype(str), harmful_N, 200, seed)
        above += difference(auroc, one_N, other_N, harmful_N, times_BN).at_least(0.95) > 0

    assert 1 <= above <= 10
