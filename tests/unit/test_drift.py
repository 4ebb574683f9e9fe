"""Drift is seen where there is some, and hardly ever where there is none."""

import numpy as np
import pytest

from autosteer_core.drift import LARGE_PSI, SMALL_P, Drift, Usual, psi, two_sample

WIDTH = 96


def rows(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Normal, with directions of very different size, as activations have; a shift is along one of the small ones."""
    random = np.random.default_rng(seed)
    scale_D = np.geomspace(20, 0.2, WIDTH)
    made_ND = random.standard_normal((count, WIDTH)) * scale_D
    made_ND[:, -5] += shift * scale_D[-5]
    return made_ND.astype(np.float32)


def test_the_index_is_zero_for_the_reference_and_large_for_another_population() -> None:
    random = np.random.default_rng(0)
    reference, alike = random.beta(1, 8, (2, 5000))

    assert psi(reference, reference) == 0
    assert psi(reference, alike) < 0.02
    assert psi(reference, random.beta(3, 3, 5000)) > LARGE_PSI


def test_equal_risks_of_another_width_are_the_same_population() -> None:
    assert psi(np.full(100, 0.1, np.float32), np.full(100, 0.1)) == pytest.approx(0)


def test_the_index_of_nothing_or_of_no_numbers_is_zero_and_finite() -> None:
    some = np.array([0.1, 0.2, np.nan])

    assert psi(np.array([]), some) == 0 == psi(some, np.array([np.nan]))
    assert np.isfinite(psi(np.zeros(100), np.ones(100)))


def test_false_alarms_of_the_test_are_as_rare_as_its_level_says() -> None:
    found = [two_sample(rows(150, 2 * seed), rows(150, 2 * seed + 1), seed)[1] for seed in range(25)]

    assert sum(p <= 0.05 for p in found) <= 5  # 1.25 expected; more than 5 has a chance of 0.2 %
    assert max(found) > 0.5


def test_a_shift_of_one_small_direction_is_found_and_the_answer_is_the_same_twice() -> None:
    reference_ND, moved_ND = rows(1200, 1), rows(900, 2, shift=8)

    statistic, p = two_sample(reference_ND, moved_ND, 3)

    assert p == SMALL_P
    assert (statistic, p) == two_sample(reference_ND, moved_ND, 3)
    assert two_sample(reference_ND, moved_ND[:1], 3) == (0.0, 1.0)


def test_rows_of_a_new_kind_are_further_away_than_nearly_all_of_the_reference() -> None:
    usual = Usual.of(rows(1500, 1), seed=0)

    assert (usual(rows(1500, 2)) > usual.limit).mean() < 0.03
    assert (usual(rows(300, 3, shift=30)) > usual.limit).mean() > 0.9


@pytest.mark.parametrize("count", [2, 3, 20])
def test_a_small_reference_gives_finite_distances(count: int) -> None:
    assert np.isfinite(Usual.of(rows(count, 1), seed=0)(rows(50, 2))).all()


def test_an_alarm_is_raised_by_either_measure() -> None:
    calm = {"run_id": "r", "statistic": 0.0, "rows": 9, "reference_rows": 9, "unlike": 0}

    assert not Drift(psi=0.1, p=0.4, **calm).alarm  # type: ignore[arg-type]
    assert Drift(psi=0.3, p=0.4, **calm).alarm and Drift(psi=0.1, p=0.001, **calm).alarm  # type: ignore[arg-type]
    assert Drift(psi=0.3, p=0.4, **calm).as_json()["alarm"] is True  # type: ignore[arg-type]
