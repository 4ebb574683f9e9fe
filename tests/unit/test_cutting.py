"""Cutting by cost: every row once, no part too large, borders used where that is cheap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.cutting import Stretch, cut, estimated_cost

STRETCHES = st.lists(
    st.builds(lambda rows, each: Stretch(rows, rows * each), st.integers(1, 300), st.floats(1, 4)), max_size=12
)


def row_costs(stretches: list[Stretch]) -> list[float]:
    return [one.cost / one.rows for one in stretches for _ in range(one.rows)]


@given(STRETCHES, st.integers(1, 100))
def test_every_row_is_in_one_part_that_is_not_too_large(stretches: list[Stretch], rows_per_part: int) -> None:
    stops = list(cut(stretches, rows_per_part))
    costs = row_costs(stretches)
    assert stops == sorted(set(stops))
    assert ([0, *stops])[-1] == len(costs)
    for start, stop in pairwise([0, *stops]):
        assert 0 < stop - start <= rows_per_part
        assert stop - start == 1 or sum(costs[start:stop]) <= rows_per_part * (1 + 1e-9)


@given(STRETCHES, st.integers(1, 100))
def test_a_part_ends_early_only_at_a_border_or_where_the_next_row_does_not_fit(
    stretches: list[Stretch], rows_per_part: int
) -> None:
    costs, borders, row = row_costs(stretches), set(), 0
    for stretch in stretches:
        row += stretch.rows
        borders.add(row)
    for start, stop in pairwise([0, *cut(stretches, rows_per_part)]):
        nearly_full = sum(costs[start:stop]) >= 0.75 * rows_per_part * (1 - 1e-9)
        assert stop in borders or sum(costs[start : stop + 1]) > rows_per_part * (1 - 1e-9)
        assert nearly_full or stop == len(costs) or stop not in borders or costs[stop] > rows_per_part / 4


def test_plain_rows_make_full_parts() -> None:
    assert list(cut([Stretch(70, 70.0)], 32)) == [32, 64, 70]


def test_a_part_that_is_nearly_full_ends_at_the_border() -> None:
    assert list(cut([Stretch(28, 28.0)] * 2, 32)) == [28, 56]


def test_a_part_that_is_half_full_goes_on_behind_the_border() -> None:
    assert list(cut([Stretch(16, 16.0)] * 3, 32)) == [32, 48]


def test_dear_rows_make_short_parts() -> None:
    assert list(cut([Stretch(32, 64.0)], 32)) == [16, 32]


@pytest.mark.parametrize(
    ("text", "pictures", "cost"), [(100, 0, 1), (8192, 0, 2), (0, 192 * 1024, 3), (10**9, 10**9, 4)]
)
def test_the_estimate_is_as_documented(text: int, pictures: int, cost: float) -> None:
    assert estimated_cost(1, text, pictures) == cost
    assert estimated_cost(10, 10 * text, 10 * pictures) == 10 * cost
