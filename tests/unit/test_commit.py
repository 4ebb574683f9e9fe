"""The commit protocol over the port."""

import math

import pytest

from autosteer_core.commit import SUCCESS, commit_part, read_part, seal, split_part
from autosteer_core.errors import LeaseLost
from autosteer_core.records import NotConserved, fate, read_records
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Action, Lease, Part, PartId, Verdict
from infra.memory_store import MemoryStore

PART = Part(PartId("p-000000003"), "items.parquet", 3, 6)
IDS = RowIds.of("items.parquet", ((row, f"item-{row}") for row in (3, 4, 5)))
LEASE = Lease(PART, 1, "w", 0.0)


def rows(*numbers: int) -> list[Verdict]:
    return [Verdict(f"item-{number}", number, Action.ANSWER, math.nan) for number in numbers]


def test_a_committed_part_can_be_read_back() -> None:
    store = MemoryStore()

    assert commit_part(store, LEASE, rows(3, 4, 5), b"data")

    [record] = read_records(store).current
    assert read_part(store, record) == b"data"
    assert record.actions == {"answer": 3}
    assert fate(store, PART) is not None


def test_the_second_attempt_is_refused_and_leaves_nothing() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"first")

    assert not commit_part(store, Lease(PART, 2, "v", 0.0), rows(3, 4, 5), b"second")

    assert len(list(store.keys("parts/"))) == 1
    assert read_part(store, read_records(store).current[0]) == b"first"


@pytest.mark.parametrize("numbers", [(3, 4), (3, 4, 4), (3, 4, 5, 6), (4, 3, 5), ()])
def test_rows_that_are_not_exactly_the_parts_are_refused(numbers: tuple[int, ...]) -> None:
    store = MemoryStore()

    with pytest.raises(NotConserved):
        commit_part(store, LEASE, rows(*numbers), b"data")
    assert list(store.keys()) == []


def test_a_run_with_a_missing_part_is_not_sealed() -> None:
    store = MemoryStore()

    with pytest.raises(NotConserved, match="part p-000000003 is missing"):
        seal(store, [PART], IDS)
    assert SUCCESS not in store.keys()


def test_sealing_is_safe_to_repeat() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"data")

    assert seal(store, [PART], IDS) == seal(store, [PART], IDS)
    assert SUCCESS in store.keys()


def test_a_changed_part_is_noticed() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"data")
    [record] = read_records(store).current
    store.put(record.key, b"dataX")

    with pytest.raises(NotConserved, match="was changed after its commit"):
        read_part(store, record)


def test_a_run_whose_manifest_names_other_items_is_not_sealed() -> None:
    store = MemoryStore()
    commit_part(store, LEASE, rows(3, 4, 5), b"data")
    others = RowIds.of("items.parquet", ((row, f"other-{row}") for row in (3, 4, 5)))

    with pytest.raises(NotConserved, match="the manifest changed while the run was going on"):
        seal(store, [PART], others)
    assert SUCCESS not in store.keys()


def test_a_part_is_decided_once_committed_or_halved() -> None:
    store = MemoryStore()
    halves = split_part(store, LEASE, "its worker died")
    assert [(half.start, half.stop) for half in halves] == [(3, 4), (4, 6)]
    assert split_part(store, Lease(PART, 9, "v", 0.0), "again") == halves
    assert not commit_part(store, LEASE, rows(3, 4, 5), b"late")

    other = MemoryStore()
    commit_part(other, LEASE, rows(3, 4, 5), b"data")
    with pytest.raises(LeaseLost, match="is committed, and cannot be halved"):
        split_part(other, LEASE, "its worker died")


def test_halves_stand_for_their_part_down_to_single_rows() -> None:
    store = MemoryStore()
    pieces = [PART]
    while pieces[-1].rows > 1:
        pieces += split_part(store, Lease(pieces.pop(), 1, "w", 0.0), "its worker died")
    for piece in pieces:
        commit_part(store, Lease(piece, 1, "w", 0.0), rows(*range(piece.start, piece.stop)), b"data")

    assert [record.rows for record in seal(store, [PART], IDS)] == [1, 1, 1]
    assert [piece.halvings for piece in pieces] == [1, 2, 2]
