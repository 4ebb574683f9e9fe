"""The commit protocol over the port."""

import math

import pytest

from autosteer_core.commit import SUCCESS, NotConserved, commit_part, committed, fate, read_part, seal
from autosteer_core.values import Action, Lease, Part, PartId, Verdict
from infra.memory_store import MemoryStore

PART = Part(PartId("p-000000003"), "items.parquet", 3, 6)
LEASE = Lease(PART, 1, "w", 0.0)


def rows(*numbers: int) -> list[Verdict]:
    return [Verdict(f"item-{number}", number, Action.ANSWER, math.nan) for number in numbers]


def test_a_committed_part_can_be_read_back() -> None:
    store = MemoryStore()

    assert commit_part(store, LEASE, rows(3, 4, 5), b"data")

    [record] = committed(store)
    assert read_part(store, record) == b"data"
    assert record.actions == {"answer": 3}
    assert fate(store, PART) is not None


def test_the_second_attempt_is_refused_and_leaves_nothing() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"first")

    assert not commit_part(store, Lease(PART, 2, "v", 0.0), rows(3, 4, 5), b"second")

    assert len(list(store.keys("parts/"))) == 1
    assert read_part(store, next(iter(committed(store)))) == b"first"


@pytest.mark.parametrize("numbers", [(3, 4), (3, 4, 4), (3, 4, 5, 6), (4, 3, 5), ()])
def test_rows_that_are_not_exactly_the_parts_are_refused(numbers: tuple[int, ...]) -> None:
    store = MemoryStore()

    with pytest.raises(NotConserved):
        commit_part(store, LEASE, rows(*numbers), b"data")
    assert list(store.keys()) == []


def test_a_run_with_a_missing_part_is_not_sealed() -> None:
    store = MemoryStore()

    with pytest.raises(NotConserved, match="1 parts are missing and 0 are foreign"):
        seal(store, [PART])
    assert SUCCESS not in store.keys()


def test_sealing_is_safe_to_repeat() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"data")

    assert seal(store, [PART]) == seal(store, [PART])
    assert SUCCESS in store.keys()


def test_a_changed_part_is_noticed() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"data")
    [record] = committed(store)
    store.put(record.key, b"dataX")

    with pytest.raises(NotConserved, match="was changed after its commit"):
        read_part(store, record)
