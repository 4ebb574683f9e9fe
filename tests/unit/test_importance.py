"""Importance weights under covariate shift."""

import numpy as np
import pytest

from autosteer_core.importance import importance

WORLD = np.random.default_rng(0)


def normal(rows: int, mean: float) -> np.ndarray:
    return (WORLD.standard_normal((rows, 4)) + np.array([mean, 0, 0, 0])).astype(np.float32)


def test_weights_move_the_labelled_items_towards_the_traffic() -> None:
    labelled, traffic = normal(4000, 0.0), normal(2000, 1.0)

    found = importance(labelled, traffic)

    assert labelled[:, 0].mean() == pytest.approx(0.0, abs=0.1)
    assert np.average(labelled[:, 0], weights=found.weight_N) == pytest.approx(1.0, abs=0.2)
    assert found.weight_N.mean() == pytest.approx(1.0)


def test_accepted_items_are_a_sample_of_the_traffic() -> None:
    labelled, traffic = normal(6000, 0.0), normal(2000, 1.0)

    kept = importance(labelled, traffic).accepted(seed=0)

    assert labelled[kept, 0].mean() == pytest.approx(1.0, abs=0.2)
    assert 100 < kept.sum() < 3000


def test_the_cap_limits_what_one_item_may_stand_for() -> None:
    found = importance(normal(500, 0.0), normal(500, 4.0), cap=5.0)

    assert found.weight_N.max() / found.weight_N.mean() <= 500
    capped = importance(normal(500, 0.0), normal(500, 4.0), cap=1.0)
    assert capped.weight_N.max() / np.median(capped.weight_N) < found.weight_N.max() / np.median(found.weight_N)


def test_traffic_like_the_labelled_items_leaves_them_almost_equal() -> None:
    found = importance(normal(2000, 0.0), normal(2000, 0.0))

    assert found.effective > 0.95 * 2000
