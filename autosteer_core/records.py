"""What is decided of a part, for good: its rows are committed, or it is halved, or it is done again in pieces.

`commits/{part}.json` is the one slot that decides a part: who puts first, wins. So a worker that was thought dead
finds its part decided, and a part that is committed cannot be halved.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from autosteer_core.errors import AutosteerError
from autosteer_core.ports import BlobStore
from autosteer_core.values import AGAIN, Part

COMMITS, REDONE = "commits/", "redone/"


class NotConserved(AutosteerError):
    """The output does not hold exactly one row per input row: it is not sealed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the output, and how to check it."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What was committed: rows from `start` of file `source`, where they lie, how to check them, and what they hold.

    `token` is the lease that they were committed under, `ids` a RowIds' total. `activations` lie beside the rows,
    where they were asked for. `bundle_id` is the bundle that its rows were pinned to, in a run that follows a
    registry; None in a run that is pinned as a whole, and for rows that no bundle has seen.
    """

    part_id: str
    token: int
    source: str
    start: int
    rows: int
    key: str
    sha256: str
    bytes: int
    actions: dict[str, int]
    ids: str
    activations: Stored | None = None
    bundle_id: str | None = None

    @property
    def keys(self) -> list[str]:
        """Of the files that it names."""
        return [self.key] if self.activations is None else [self.key, self.activations.key]


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """That a part is decided in halves, each with a record of its own."""

    part_id: str
    token: int
    split: list[list[int]]
    reason: str


@dataclass(frozen=True, slots=True)
class RedoRecord:
    """That a committed part is replaced by pieces, [start, stop) each: a person wants some of its rows anew."""

    part_id: str
    pieces: list[list[int]]
    reason: str


Record = CommitRecord | SplitRecord | RedoRecord


@dataclass(slots=True)
class Records:
    """All that a store holds, by part id."""

    commits: dict[str, CommitRecord] = field(default_factory=dict)
    splits: dict[str, SplitRecord] = field(default_factory=dict)
    redone: dict[str, RedoRecord] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take one in."""
        if isinstance(record, CommitRecord):
            self.commits[record.part_id] = record
        elif isinstance(record, SplitRecord):
            self.splits[record.part_id] = record
        else:
            self.redone[record.part_id] = record

    @property
    def current(self) -> list[CommitRecord]:
        """Those that are not replaced, by part id."""
        return [record for part_id, record in self.commits.items() if part_id not in self.redone]

    def leaves(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts, halved and replaced as is decided, in the order of their rows: in the end each has a commit."""
        for part in parts:
            if part.part_id in self.redone:
                pieces = self.redone[part.part_id].pieces
                yield from self.leaves(part.piece(AGAIN, start, stop) for start, stop in pieces)
            elif part.part_id in self.splits:
                yield from self.leaves(part.halves())
            else:
                yield part


def decide(store: BlobStore, record: CommitRecord | SplitRecord) -> bool:
    """Whether this is the part's fate; False if another was first."""
    return _put(store, COMMITS, record)


def redo(store: BlobStore, record: RedoRecord) -> bool:
    """Whether the part is replaced by these pieces; False if it was replaced already."""
    return _put(store, REDONE, record)


def fate(store: BlobStore, part: Part) -> CommitRecord | SplitRecord | None:
    """What is decided of the part, whatever a queue says; None where nothing is."""
    key = _key(COMMITS, part.part_id)
    try:
        record = parsed_record(key, store.get(key))
    except KeyError:
        return None
    assert not isinstance(record, RedoRecord)
    return record


def read_records(store: BlobStore) -> Records:
    """Every record.

    Raises:
        NotConserved: one is damaged.
    """
    found = Records()
    for record in new_records(store, set()):
        found.add(record)
    return found


def new_records(store: BlobStore, seen: set[str]) -> Iterator[Record]:
    """Those whose keys are not among `seen`, which they join; replacements come before what they replace."""
    for folder in (REDONE, COMMITS):
        for key in store.keys(folder):
            if key not in seen:
                record = parsed_record(key, store.get(key))
                seen.add(key)
                yield record


def _key(folder: str, part_id: str) -> str:
    return f"{folder}{part_id}.json"


def _put(store: BlobStore, folder: str, record: Record) -> bool:
    return store.put_if_absent(_key(folder, record.part_id), json.dumps(asdict(record)).encode())


def parsed_record(key: str, data: bytes) -> Record:
    """The record at `key`.

    Raises:
        NotConserved: it is damaged.
    """
    kinds = {"split": SplitRecord, "pieces": RedoRecord, "ids": CommitRecord}
    try:
        values = json.loads(data)
        if values.get("activations") is not None:
            values["activations"] = Stored(**values["activations"])
        record: Record = next(kind for name, kind in kinds.items() if name in values)(**values)
    except (ValueError, TypeError, AttributeError, StopIteration) as error:
        raise NotConserved(f"record {key} is damaged ({error}): restore it, or delete it and run again") from error
    if not key.endswith(f"/{record.part_id}.json"):
        raise NotConserved(f"record {key} is damaged, it names part {record.part_id}: restore it from another copy")
    return record
