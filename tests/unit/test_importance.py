"""Importance weights under covariate shift."""

import numpy as np
import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.importance import importance

WORLD = np.random.default_rng(0)


def normal(rows: int, mean: float) -> np.ndarray:
    return (WORLD.standard_normal((rows, 4)) + np.array([mean, 0, 0, 0])).astype(np.float32)


def test_weights_move_the_labelled_items_towards_the_traffic() -> None:
    labelled, traffic = normal(4000, 0.0), normal(2000, 1.0)

    found = importance(labelled, np.arange(len(labelled)), traffic)

    assert labelled[:, 0].mean() == pytest.approx(0.0, abs=0.1)
    assert np.average(labelled[:, 0], weights=found.weight_N) == pytest.approx(1.0, abs=0.2)
    assert found.weight_N.mean() == pytest.approx(1.0, abs=0.1)


def test_accepted_items_are_a_sample_of_the_traffic() -> None:
    labelled, traffic = normal(6000, 0.0), normal(2000, 1.0)

    kept = importance(labelled, np.arange(len(labelled)), traffic).accepted(seed=0)

    assert labelled[kept, 0].mean() == pytest.approx(1.0, abs=0.2)
    assert 100 < kept.sum() < 3000


def test_the_cap_limits_what_one_item_may_stand_for() -> None:
    found = importance(normal(500, 0.0), np.arange(500), normal(500, 4.0), cap=5.0)

    assert found.weight_N.max() <= 5.0


def test_traffic_like_the_labelled_items_leaves_them_almost_equal() -> None:
    found = importance(normal(2000, 0.0), np.arange(2000), normal(2000, 0.0))

    assert found.effective > 0.95 * 2000


def test_rows_that_the_classifier_never_saw_are_weighed_all_the_same() -> None:
    labelled, traffic = normal(4000, 0.0), normal(2000, 1.0)

    found = importance(labelled, np.arange(2000), traffic)

    assert np.average(labelled[2000:, 0], weights=found.weight_N[2000:]) == pytest.approx(1.0, abs=0.2)


def test_a_handful_of_traffic_is_refused() -> None:
    with pytest.raises(UserMistake, match="3 items of the traffic can be read, at least 10"):
        importance(normal(50, 0.0), np.arange(50), normal(3, 1.0))
