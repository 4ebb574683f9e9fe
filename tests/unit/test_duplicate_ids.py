"""Ids of very many rows: the sum, and one given twice, without keeping them."""

import resource
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.row_ids import RowIds
from infra.duplicate_ids import sum_of_unique_ids
from infra.id_hashes import IdHashes

SPILLING = partial(IdHashes, held=10)


@given(st.lists(st.lists(st.text(max_size=2), max_size=20), max_size=6), st.booleans())
def test_an_id_given_twice_is_found_and_no_other(batches: list[list[str]], spilling: bool) -> None:
    def read() -> Iterator[tuple[str, int, Sequence[str]]]:
        first = 0
        for batch in batches:
            yield "f", first, batch
            first += len(batch)

    ids = [item_id for batch in batches for item_id in batch]
    if len(set(ids)) == len(ids):
        assert sum_of_unique_ids(read, SPILLING if spilling else IdHashes) == RowIds.of("f", enumerate(ids))
        return
    with pytest.raises(UserMistake, match=r"is given twice, in row \d+ of f and in row \d+ of f"):
        sum_of_unique_ids(read, SPILLING if spilling else IdHashes)


def test_equal_hashes_of_different_ids_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.id_hashes.hash", len, raising=False)
    monkeypatch.setattr("infra.duplicate_ids.hash", len, raising=False)
    assert sum_of_unique_ids(lambda: [("f", 0, ["aa", "bb", "c"])]).rows == 3
    with pytest.raises(UserMistake, match="id 'bb' is given twice, in row 1 of f and in row 3 of f"):
        sum_of_unique_ids(lambda: [("f", 0, ["aa", "bb", "c", "bb"])])


def peak_bytes(rows: int, held: int) -> int:
    """Most memory that adding so many ids took, with what Python and numpy hold."""
    tracemalloc.start()
    try:
        with IdHashes(held) as seen:
            for first in range(0, rows, 1_000):
                seen.add([f"item-{row}" for row in range(first, first + 1_000)])
            assert not any(seen.given_twice())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows() -> None:
    assert peak_bytes(80_000, held=2_000) < peak_bytes(10_000, held=2_000) + 100_000


def test_it_would_grow_without_the_disk() -> None:
    """The control: what the test above measures is there."""
    assert peak_bytes(80_000, held=10**9) > peak_bytes(10_000, held=10**9) + 70_000 * 8


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with IdHashes(held=1) as seen:
        seen.add(["a", "b", "a"])
        assert [len(found) for found in seen.given_twice() if found] == [1]
        assert not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_with_what_to_do() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserMistake, match=r"8 bytes a row .* \(File too large\): free some space there"):
            sum_of_unique_ids(lambda: [("f", 0, [str(n) for n in range(5_000)])], SPILLING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
