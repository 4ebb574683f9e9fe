"""Rules that the records of an output must keep among themselves: rows without a hole, slots decided once."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autosteer_core.commit import SEALED, SUCCESS
from autosteer_core.ports import BlobStore
from autosteer_core.records import COMMITS, CommitRecord, Records
from pipelines.violation import Violation

Span = tuple[int, int, str]


def check_coverage(records: Records, files: Mapping[str, int], *, sealed: bool) -> Iterator[Violation]:
    """I1 and I2: the current commits tile every file; holes are allowed while the run is not finished."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for record in records.current:
        spans[record.source].append((record.start, record.start + record.rows, record.part_id))
    for source in spans.keys() - files.keys():
        yield Violation("I1", spans[source][0][2], f"{source} is no file of the manifest: the part is of another run")
    for source, rows in files.items():
        yield from _tiled(source, rows, sorted(spans[source]), sealed=sealed)


def _tiled(source: str, rows: int, spans: Sequence[Span], *, sealed: bool) -> Iterator[Violation]:
    end = 0
    for start, stop, part_id in [*spans, (rows, rows, SUCCESS)]:
        if start > end and sealed:
            yield Violation("I1", part_id, f"rows {end} to {start} of {source} are in no part: run the command again")
        if start < end and part_id != SUCCESS:
            yield Violation("I2", part_id, f"rows {start} to {min(end, stop)} of {source} are in an earlier part too")
        end = max(end, stop)
    if end > rows:
        yield Violation("I1", source, f"rows {rows} to {end} are not in the manifest, which has {rows}")


def check_rights(records: Records) -> Iterator[Violation]:
    """I3."""
    for record in records.commits.values():
        if not record.key.startswith(f"parts/{record.part_id}.{record.token}-"):
            yield Violation("I3", _slot(record.part_id), f"{record.key} is not of this part and lease {record.token}")
    for part_id in records.commits.keys() & records.splits.keys():
        yield Violation("I3", _slot(part_id), "the part is committed and halved")
    for part_id, redone in records.redone.items():
        replaced = records.commits.get(part_id)
        if replaced is None or not _cuts(redone.pieces, replaced.start, replaced.start + replaced.rows):
            yield Violation("I3", f"redone/{part_id}.json", f"pieces {redone.pieces} are not the rows of the part")
    for part_id, split in records.splits.items():
        if len(split.split) != 2 or not _cuts(split.split, split.split[0][0], split.split[-1][-1]):
            yield Violation("I3", _slot(part_id), f"halves {split.split} are no two halves")


def check_readers(store: BlobStore, records: Records, *, sealed: bool) -> Iterator[Violation]:
    """I5."""
    try:
        listed = json.loads(store.get(SEALED))["parts"]
    except KeyError:
        if sealed:
            yield Violation("I5", SUCCESS, f"the run is called finished, but {SEALED} is not there or names no parts")
        return
    except (ValueError, TypeError) as error:
        yield Violation("I5", SEALED, f"it is damaged ({error}): delete it and repeat the run's command")
        return
    if sealed and _by_id(listed) != _by_id([asdict(record) for record in records.current]):
        yield Violation("I5", SEALED, "it names other parts than are committed: repeat the run's command")


def _by_id(listed: Any) -> Any:
    try:
        # Lists of earlier versions know of no bundle a part.
        return sorted(({"bundle_id": None} | each for each in listed), key=lambda each: str(each["part_id"]))
    except (TypeError, KeyError):
        return listed


def _cuts(pieces: Sequence[Sequence[int]], start: int, stop: int) -> bool:
    """Whether the pieces are [start, stop), one after the other, none empty."""
    ends = [start, *(piece[-1] for piece in pieces)]
    whole = all(len(piece) == 2 and piece[0] == end < piece[1] for piece, end in zip(pieces, ends, strict=False))
    return whole and ends[-1] == stop


def _slot(part_id: str) -> str:
    return f"{COMMITS}{part_id}.json"


def by_slot(records: Records) -> dict[str, CommitRecord]:
    """Key of the part file -> its record."""
    return {record.key: record for record in records.commits.values()}
