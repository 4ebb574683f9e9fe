"""What was erased of the activations beside a part, at a person's wish or by its age: a commit record stays as it is.

`erased/{part}.json` names the rows, and the file that holds the others now. It is replaced by the next erasure.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, NotConserved, Stored

ERASED = "erased/"


@dataclass(frozen=True, slots=True)
class Erasure:
    """`pieces` are rows, [start, stop) each. `activations` took the place of the committed file if it was `replaced`;
    None where no row is left. A file that was committed without the rows is not replaced.
    """

    part_id: str
    pieces: list[list[int]]
    replaced: bool
    activations: Stored | None = None

    @property
    def rows(self) -> set[int]:
        """Whose activations are not to be found any more."""
        return {row for start, stop in self.pieces for row in range(start, stop)}

    def between(self, start: int, stop: int, part_id: str) -> "Erasure | None":
        """What it says of some rows that become a part of their own, committed without what was erased of them."""
        pieces = [[max(start, first), min(stop, last)] for first, last in self.pieces]
        pieces = [[first, last] for first, last in pieces if first < last]
        return Erasure(part_id, pieces, replaced=False) if pieces else None


def pieces_of(rows: Iterable[int]) -> list[list[int]]:
    """Row numbers as [start, stop) each, in order."""
    pieces: list[list[int]] = []
    for row in sorted(set(rows)):
        if pieces and pieces[-1][1] == row:
            pieces[-1][1] = row + 1
        else:
            pieces.append([row, row + 1])
    return pieces


def put_erasure(store: BlobStore, erasure: Erasure) -> None:
    """From now on readers follow it."""
    store.put(f"{ERASED}{erasure.part_id}.json", json.dumps(asdict(erasure)).encode())


def erasure_of(store: BlobStore, part_id: str) -> Erasure | None:
    """Of this part, None where nothing was erased.

    Raises:
        NotConserved: the record is damaged.
    """
    key = f"{ERASED}{part_id}.json"
    try:
        return _parsed(key, store.get(key))
    except KeyError:
        return None


def erasures(store: BlobStore) -> Iterator[Erasure]:
    """All of them; raises NotConserved at one that is damaged."""
    for key in store.keys(ERASED):
        yield _parsed(key, store.get(key))


def activations_now(record: CommitRecord, erasure: Erasure | None) -> Stored | None:
    """The file that holds what is kept of the part's rows, None where nothing is."""
    return erasure.activations if erasure and erasure.replaced else record.activations


def _parsed(key: str, data: bytes) -> Erasure:
    try:
        values = json.loads(data)
        activations = values.pop("activations")
        found = Erasure(**values, activations=activations and Stored(**activations))
        _require_pieces(found.pieces)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotConserved(f"record {key} is damaged ({error}): restore it from another copy") from error
    if key != f"{ERASED}{found.part_id}.json":
        raise NotConserved(f"record {key} is damaged, it names part {found.part_id}: restore it from another copy")
    return found


def _require_pieces(pieces: Sequence[Sequence[int]]) -> None:
    for start, stop in pieces:
        if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start < stop):
            raise ValueError(f"rows {start} to {stop}")
