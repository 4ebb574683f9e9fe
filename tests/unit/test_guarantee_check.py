"""The bound on missed rows, checked where the truth is known."""

import numpy as np
import pytest

from autosteer_core.guarantee_check import check_guarantee


def risks(seed: int, harmful: int = 600, benign: int = 600) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.beta(5, 2, harmful), generator.beta(2, 5, benign)


@pytest.mark.parametrize("alpha", [0.05, 0.10])
def test_the_true_miss_rate_exceeds_alpha_in_at_most_delta_of_the_splits(alpha: float) -> None:
    check = check_guarantee(*risks(0), alpha, 0.05, seed=1)

    assert check is not None
    assert check.splits == 500
    assert check.exceeded <= 0.05 + 2 * (0.05 * 0.95 / 500) ** 0.5
    assert check.holds


def test_the_bound_is_not_vacuous() -> None:
    check = check_guarantee(*risks(0), 0.10, 0.05, seed=1, splits=100)

    assert check is not None
    assert 0.04 < check.mean_miss_rate < 0.10
    assert 0.0 < check.mean_false_refusal_rate < 0.9
    assert not check.vacuous


def test_held_out_halves_fluctuate_more_than_the_truth() -> None:
    check = check_guarantee(*risks(2), 0.10, 0.05, seed=1, splits=300)

    assert check is not None
    assert check.exceeded_held_out > check.exceeded


def test_a_rule_without_a_margin_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a threshold at the empirical quantile breaks alpha about half of the time."""
    from autosteer_core import guarantee_check
    from autosteer_core.guarantee import choose_threshold

    monkeypatch.setattr(
        guarantee_check, "choose_threshold", lambda harmful, benign, alpha, delta: choose_threshold(
            harmful, benign, alpha, 0.5
        )
    )  # fmt: skip
    check = check_guarantee(*risks(0), 0.10, 0.05, seed=1, splits=200)

    assert check is not None
    assert check.exceeded > 0.3
    assert not check.holds


def test_refusing_everything_is_called_vacuous() -> None:
    harmful, benign = np.full(400, 0.5), np.full(400, 0.9)

    check = check_guarantee(harmful, benign, 0.10, 0.05, seed=0, splits=20)

    assert check is not None
    assert check.vacuous


def test_too_few_rows_prove_nothing() -> None:
    assert check_guarantee(*risks(0, harmful=40), 0.05, 0.05, seed=0) is None
