"""Finding an id that is given twice, with eight bytes of memory a row."""

from collections.abc import Callable, Iterable

import numpy as np

from autosteer_core.errors import UserMistake

# (file, row, id) of every row that has an id; asked for a second time if two hashes are equal.
ReadIds = Callable[[], Iterable[tuple[str, int, str | bytes]]]


def refuse_duplicate_ids(read_ids: ReadIds) -> None:
    """Two rows with one id would make two verdicts that nobody can tell apart."""
    hashes = np.sort(np.fromiter((hash(item_id) for _, _, item_id in read_ids()), np.int64))
    suspects = frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not suspects:
        return
    seen: dict[str | bytes, tuple[str, int]] = {}
    for file, row, item_id in read_ids():
        if hash(item_id) not in suspects:
            continue
        first = seen.setdefault(item_id, (file, row))
        if first != (file, row):
            raise UserMistake(
                f"id {_shown(item_id)} is given twice, in row {first[1]} of {first[0]} and in row {row} of "
                f"{file} (counted from 0): ids must be unique within a manifest"
            )


def _shown(item_id: str | bytes) -> str:
    text = item_id.decode(errors="replace") if isinstance(item_id, bytes) else item_id
    return repr(text[:80])
