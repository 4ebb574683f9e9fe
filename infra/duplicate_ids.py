"""The ids of a whole manifest: their sum, and the refusal of one that is given twice."""

from collections.abc import Callable, Iterable, Sequence

from autosteer_core.errors import UserMistake
from autosteer_core.row_ids import RowIds
from infra.id_hashes import IdHashes

# (file, first row, ids of the rows from there on), in order; asked for again if two hashes are equal.
ReadIds = Callable[[], Iterable[tuple[str, int, Sequence[str]]]]


def sum_of_unique_ids(read_ids: ReadIds, hashes: Callable[[], IdHashes] = IdHashes) -> RowIds:
    """The sum that the seal compares with.

    Raises:
        UserMistake: two rows have one id, which would make two verdicts that nobody can tell apart.
    """
    total = RowIds()
    with hashes() as seen:
        for source, first, ids in read_ids():
            seen.add(ids)
            total += RowIds.of(source, enumerate(ids, first))
        for suspects in seen.given_twice():
            if suspects:  # chance makes none in a hundred million ids
                _refuse_equal(read_ids(), suspects)
    return total


def _refuse_equal(rows: Iterable[tuple[str, int, Sequence[str]]], suspects: frozenset[int]) -> None:
    """Compare the ids whose hash is suspect, one by one."""
    seen: dict[str, tuple[str, int]] = {}
    for file, start, ids in rows:
        for row, item_id in enumerate(ids, start):
            if hash(item_id) not in suspects:
                continue
            first = seen.setdefault(item_id, (file, row))
            if first != (file, row):
                raise UserMistake(
                    f"id {item_id[:80]!r} is given twice, in row {first[1]} of {first[0]} and in row {row} of "
                    f"{file} (counted from 0): ids must be unique within a manifest",
                    "E_ID_CONFLICT",
                )
