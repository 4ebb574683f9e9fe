"""Parts made on demand behave as a list of them would."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.parts import Parts
from autosteer_core.values import Part, PartId

SIZES = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=4)


def both(sizes: list[list[int]]) -> tuple[Parts, list[Part]]:
    """The lazy parts, and the same ones in a list."""
    listed, files = [], []
    for number, rows in enumerate(sizes):
        stops = [sum(rows[: place + 1]) for place in range(len(rows))]
        files.append((f"f{number}", stops))
        listed += [
            Part(PartId(f"run-{number:03d}-{start:09d}"), f"f{number}", start, stop)
            for start, stop in zip([0, *stops], stops, strict=False)
        ]
    return Parts("run", files), listed


@given(SIZES)
def test_parts_are_a_sequence(sizes: list[list[int]]) -> None:
    parts, listed = both(sizes)
    assert list(parts) == listed
    assert len(parts) == len(listed)
    assert [parts[place] for place in range(-len(listed), len(listed))] == listed * 2
    assert parts[1:3] == listed[1:3]
    assert list(reversed(parts)) == listed[::-1]
    assert bool(parts) == bool(listed)


def test_a_place_that_is_not_there_is_an_index_error() -> None:
    parts, _ = both([[3, 4]])
    with pytest.raises(IndexError, match="there are 2 parts, number 2 was asked for"):
        parts[2]


def test_a_part_costs_eight_bytes_also_on_its_way_to_another_process() -> None:
    many = Parts("run", [("f", range(32, 32 * 10_001, 32))])
    assert len(many) == 10_000
    assert len(pickle.dumps(many)) < 81_000
    assert len(pickle.dumps(list(many))) > 400_000  # the control: what a list of them takes
