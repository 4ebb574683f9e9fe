"""Run identity and parts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.cutting import Stretch
from autosteer_core.errors import UserMistake
from autosteer_core.run import RECORD, Run, read_record, take_over
from infra.memory_store import MemoryStore

RUN = Run(
    "generate",
    "items.parquet",
    [("items.parquet", 70, "aa"), ("more.parquet", 5, "bb")],
    "b1",
    {"max_new_tokens": 48},
)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 100))
def test_parts_cover_every_row_once_and_never_cross_a_file(sizes: list[int], rows_per_part: int) -> None:
    run = replace(RUN, files=[(f"f{number}", rows, "") for number, rows in enumerate(sizes)])

    parts = run.parts(rows_per_part)

    covered = [(part.source, row) for part in parts for row in range(part.start, part.stop)]
    assert covered == [(f"f{number}", row) for number, rows in enumerate(sizes) for row in range(rows)]
    assert len({part.part_id for part in parts}) == len(parts)


def test_the_same_run_may_continue_in_its_output() -> None:
    store = MemoryStore()

    assert take_over(store, RUN) is False
    assert take_over(store, RUN) is True


def test_a_moved_manifest_is_the_same_run() -> None:
    assert replace(RUN, manifest="elsewhere/items.parquet").run_id == RUN.run_id


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(RUN, files=[("items.parquet", 70, "changed")]), "manifest contents"),
        (replace(RUN, bundle_id="b2"), "bundle_id"),
        (replace(RUN, kind="audit"), "kind"),
        (replace(RUN, settings={"max_new_tokens": 9}), r"max_new_tokens \(48 there, 9 now\)"),
        (replace(RUN, settings={"max_new_tokens": 48, "top_k": None}), r"top_k \(unknown there, None now\)"),
    ],
)
def test_an_output_of_another_run_is_refused_by_naming_what_differs(other: Run, named: str) -> None:
    store = MemoryStore()
    take_over(store, RUN)

    with pytest.raises(UserMistake, match=named):
        take_over(store, other)


def test_an_output_whose_parts_were_cut_by_another_rule_is_refused() -> None:
    store = MemoryStore()
    take_over(store, RUN)
    older = {name: value for name, value in read_record(store).items() if name != "cut"}
    store.put(RECORD, json.dumps(older).encode())

    with pytest.raises(UserMistake, match="differs in how this version cuts parts"):
        take_over(store, RUN)


def test_parts_are_cut_by_what_the_manifest_says_of_their_rows() -> None:
    stretches = {"items.parquet": [Stretch(30, 30.0), Stretch(40, 160.0)], "more.parquet": [Stretch(5, 5.0)]}

    ranges = [(part.part_id[-13:], part.start, part.stop) for part in RUN.parts(32, stretches.__getitem__)]

    dear = [(f"000-{start:09d}", start, start + 8) for start in range(30, 70, 8)]
    assert ranges == [("000-000000000", 0, 30), *dear, ("001-000000000", 0, 5)]


def test_commits_without_a_record_are_not_taken_over() -> None:
    store = MemoryStore()
    store.put_if_absent("commits/x.json", b"{}")

    with pytest.raises(UserMistake, match="holds commits but no run.json"):
        take_over(store, RUN)
    assert RECORD not in store.keys()
