"""What the driver hears of a run, and when it stops it."""

import math
from collections.abc import Iterator

import pytest

from autosteer_core.commit import commit_part
from autosteer_core.errors import Unreachable
from autosteer_core.records import RedoRecord, redo
from autosteer_core.values import Action, Flaw, Lease, Part, PartId, Verdict
from infra.memory_store import MemoryStore
from pipelines.commit_watch import CommitWatch, TooManyErrors


def commit(store: MemoryStore, start: int, errors: int, rows: int = 50) -> None:
    part = Part(PartId(f"p{start}"), "f", start, start + rows)
    verdicts = [
        Verdict(str(row), row, Action.ERROR, math.nan, flaw=Flaw("E_X", "x"))
        if row < start + errors
        else Verdict(str(row), row, Action.ANSWER, 0.1)
        for row in range(start, start + rows)
    ]
    assert commit_part(store, Lease(part, 1, "w", 0.0), verdicts, b"rows")


def test_rows_are_counted_as_their_parts_are_committed() -> None:
    store = MemoryStore()
    watch = CommitWatch(store, 0.5)
    assert watch.look() == 0
    commit(store, 0, errors=0)
    assert watch.look() == 50
    commit(store, 50, errors=10)
    assert watch.look() == 100


def test_a_run_whose_rows_are_mostly_errors_is_stopped_once_enough_of_them_are_known() -> None:
    store = MemoryStore()
    watch = CommitWatch(store, 0.5)
    commit(store, 0, errors=50)
    assert watch.look() == 50
    commit(store, 50, errors=1)
    with pytest.raises(TooManyErrors, match="51 of 100 rows are errors, error_budget allows 50%"):
        watch.look()
    assert CommitWatch(store, 1.0).look() == 100


def test_rows_that_are_done_again_count_once() -> None:
    store = MemoryStore()
    commit(store, 0, errors=50)
    redo(store, RedoRecord("p0", [[0, 50]], "retry"))
    assert CommitWatch(store, 0.0).look() == 0


def test_a_store_that_does_not_answer_leaves_the_last_number() -> None:
    class Away(MemoryStore):
        away = False

        def keys(self, prefix: str = "") -> Iterator[str]:
            if self.away:
                raise Unreachable("the store is away")
            return super().keys(prefix)

    store = Away()
    watch = CommitWatch(store, 0.5)
    commit(store, 0, errors=0)
    assert watch.look() == 50
    store.away = True
    assert watch.look() == 50
