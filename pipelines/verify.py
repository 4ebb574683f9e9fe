"""Recompute what a run promises from what is stored, and name everything that does not hold."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosteer_core.audit_log import Head, breaks
from autosteer_core.commit import is_sealed
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import COMMITS, REDONE, CommitRecord, NotConserved, Records, parsed_record
from autosteer_core.row_ids import RowIds
from autosteer_core.run import RECORD, identity_of, read_record
from infra.column_map import ColumnMap
from infra.open_store import open_store
from infra.verdict_rows import whole_rows_from_parquet
from pipelines.audit_heads import noted_head
from pipelines.reading import open_items
from pipelines.sound_activations import check_activations
from pipelines.sound_records import by_slot, check_coverage, check_readers, check_rights
from pipelines.sound_rows import Row, check_attempt, check_fail_closed, check_reasons, check_versions
from pipelines.violation import INVARIANTS, Violation

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Verified:
    """What was looked at, and what was found; an unfinished run may be sound."""

    run_id: str
    finished: bool
    parts: int = 0
    rows: int = 0
    lost_attempts: int = 0
    violations: list[Violation] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with how often each invariant is broken."""
        broken = Counter(each.invariant for each in self.violations)
        return {
            "run_id": self.run_id,
            "finished": self.finished,
            "parts": self.parts,
            "rows": self.rows,
            "lost_attempts": self.lost_attempts,
            "invariants": {name: broken[name] for name in INVARIANTS},
            "violations": [
                {"invariant": each.invariant, "where": each.where, "found": each.found} for each in self.violations
            ],
        }


def verify(out: str, manifest: str | None = None, progress: Progress = lambda done, of: None) -> Verified:
    """Check the output of a run, one part in memory at a time; with `manifest`, its ids too.

    Raises:
        UserMistake: there is no run at `out`, or its record cannot be read at all.
    """
    store = open_store(out)
    run = read_record(store)
    found = Verified(str(run.get("run_id")), is_sealed(store))
    found.violations += _run_record(run)
    if not found.violations:
        _check(_Stored(store, run, noted=noted_head(out)), found, manifest, progress)
    return found


@dataclass(slots=True)
class _Stored:
    store: BlobStore
    run: Mapping[str, Any]
    records: Records = field(default_factory=Records)
    noted: Head | None = None  # of the audit log
    whole: bool = True  # every record could be read

    @property
    def gated(self) -> bool:
        return "judge" not in self.run["settings"]


def _check(stored: _Stored, found: Verified, manifest: str | None, progress: Progress) -> None:
    found.violations += _read_records(stored)
    files = {name: rows for name, rows, _ in stored.run["files"]}
    if stored.whole:
        found.violations += check_coverage(stored.records, files, sealed=found.finished)
        found.violations += check_rights(stored.records)
        found.violations += check_readers(stored.store, stored.records, sealed=found.finished)
    ids = RowIds()
    current = stored.records.current
    for record in current:
        read = _read_part(stored.store, record, found.violations)
        ids += RowIds.of(record.source, ((row["row"], row["item_id"]) for row in read))
        found.violations += check_versions(record, read, stored.run)
        found.violations += check_fail_closed(record, read, gated=stored.gated)
        found.violations += check_reasons(record, read)
        found.violations += check_activations(stored.store, record, read)
        found.parts, found.rows = found.parts + 1, found.rows + len(read)
        progress(found.parts, len(current))
    found.violations += _lost_attempts(stored, found)
    found.violations += [Violation("I10", key, what) for key, what in breaks(stored.store, stored.noted)]
    if manifest is not None:
        found.violations += _manifest(manifest, stored.run, ids if found.finished else None)


def _run_record(run: Mapping[str, Any]) -> Iterator[Violation]:
    """The run's id is a digest of what was asked, so a record that was changed is noticed."""
    if identity_of(run) != run.get("run_id"):
        yield Violation("I4", RECORD, "what it says was asked does not give its run_id: restore it from another copy")


def _read_records(stored: _Stored) -> Iterator[Violation]:
    for folder in (REDONE, COMMITS):
        for key in stored.store.keys(folder):
            try:
                stored.records.add(parsed_record(key, stored.store.get(key)))
            except NotConserved as error:
                stored.whole = False
                yield Violation("I4", key, str(error))


def _read_part(store: BlobStore, record: CommitRecord, violations: list[Violation]) -> Sequence[Row]:
    """The rows, none where the file is not what was committed."""
    try:
        data = store.get(record.key)
    except KeyError:
        violations.append(
            Violation("I4", record.key, f"it is gone: delete {COMMITS}{record.part_id}.json, run again")
        )
        return []
    digest = hashlib.sha256(data).hexdigest()
    if len(data) != record.bytes or digest != record.sha256:
        found = f"{len(data)} bytes with SHA-256 {digest}, committed were {record.bytes} with {record.sha256}"
        cure = f"restore it, or delete it with {COMMITS}{record.part_id}.json and run again"
        violations.append(Violation("I4", record.key, f"{found}: {cure}"))
        return []
    try:
        rows = whole_rows_from_parquet(data)
    except UserMistake as error:
        violations.append(Violation("I4", record.key, str(error)))
        return []
    violations += _as_recorded(record, rows)
    return rows


def _as_recorded(record: CommitRecord, rows: Sequence[Row]) -> Iterator[Violation]:
    slot = f"{COMMITS}{record.part_id}.json"
    if [row["row"] for row in rows] != list(range(record.start, record.start + record.rows)):
        yield Violation("I4", slot, f"{record.key} does not hold rows {record.start} to {record.start + record.rows}")
    ids = RowIds.of(record.source, ((row["row"], row["item_id"]) for row in rows))
    if str(ids) != record.ids:
        yield Violation("I4", slot, f"the ids of {record.key} add up to {ids}, the record says {record.ids}")
    actions = Counter(row["action"] for row in rows)
    if dict(actions) != record.actions:
        yield Violation("I4", slot, f"{record.key} has {dict(sorted(actions.items()))}, it says {record.actions}")


def _lost_attempts(stored: _Stored, found: Verified) -> Iterator[Violation]:
    """Part files that no record names: a worker died before its commit. Readers never see them."""
    named = by_slot(stored.records)
    for key in stored.store.keys("parts/"):
        part_id = key.removeprefix("parts/").rpartition(".parquet")[0].rpartition(".")[0]
        winner = stored.records.commits.get(part_id)
        if key in named:
            continue
        found.lost_attempts += 1
        if winner is not None:
            yield from _compared(stored.store, key, winner)


def _compared(store: BlobStore, key: str, winner: CommitRecord) -> Iterator[Violation]:
    try:
        lost = whole_rows_from_parquet(store.get(key))
        won = {row["row"]: row for row in whole_rows_from_parquet(store.get(winner.key))}
    except (KeyError, UserMistake):
        return  # cut off by the death of its worker, or told of elsewhere
    yield from check_attempt(key, lost, won)


def _manifest(address: str, run: Mapping[str, Any], ids: RowIds | None) -> Iterator[Violation]:
    manifest = open_items(address, ColumnMap(**run["settings"].get("columns", {})))
    files = [list(entry) for entry in manifest.files()]
    if files != run["files"]:
        yield Violation("I1", address, "the manifest is not the one that the run was made from: its files differ")
    elif ids is not None and ids != manifest.row_ids():
        yield Violation("I1", address, f"it has {manifest.row_ids().rows} ids, {ids.rows} others are in the output")


def lines(found: Verified) -> Iterator[str]:
    """One line for every violation."""
    for each in found.violations:
        yield f"{each.invariant} {each.where}: {each.found}"
