"""Another bundle over the kept activations of runs: which gates would be others, without the model.

Parts are read side by side, one a core: reading, digest and probe all leave the interpreter's lock.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from os import cpu_count
from typing import Any

import numpy as np
import torch

from autosteer_core.audit_log import Deed
from autosteer_core.bundle import Bundle
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from infra.open_store import open_store
from pipelines.audit_heads import log_deed
from pipelines.pinned_runs import require_following
from pipelines.redo_rows import redo_rows
from pipelines.reread_part import Reread, reread

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Flip:
    """A row whose gate is another under the new bundle; `before` is None where none could be evaluated."""

    out: str
    part_id: str
    row: int
    item_id: str
    modality: str
    risk_before: float | None
    risk: float | None
    before: bool | None
    gate_open: bool


@dataclass(slots=True)
class Replayed:
    """`rows` of the runs, those that were `read` again, and the rest: no activation is kept of them."""

    bundle_id: str
    rows: int = 0
    read: int = 0
    opened: int = 0
    closed: int = 0
    unreadable: int = 0  # the new bundle gives no number: their gates are open
    reopened: int = 0  # to be done again, where that was asked for
    seconds: float = 0.0
    by_modality: Counter[str] = field(default_factory=Counter)
    flips: list[Flip] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the speed in rows a second."""
        values = {name: getattr(self, name) for name in ("bundle_id", "rows", "read", "opened", "closed")}
        speed = round(self.read / self.seconds) if self.seconds else None
        return values | {
            "not_kept": self.rows - self.read,
            "unreadable": self.unreadable,
            "reopened": self.reopened,
            "seconds": round(self.seconds, 3),
            "rows_per_second": speed,
            "flips_by_modality": dict(sorted(self.by_modality.items())),
            "flips": [asdict(flip) for flip in self.flips],
        }


def replay(outs: Sequence[str], bundle: Bundle, progress: Progress = lambda done, of: None) -> Replayed:
    """Read every kept activation of the runs again, and name the rows whose gates would be others.

    Raises:
        UserMistake: no run there, one without gates, one of which nothing is kept, or E_REPLAY_ORIGIN.
        NotConserved: a file is gone or was changed after its commit.
    """
    found, began = Replayed(str(bundle.bundle_id)), time.monotonic()
    for out, _, record, again in _reread(_parts(outs), bundle, progress):
        _count(found, out, record, again)
    found.seconds = time.monotonic() - began
    return found


def regenerate(
    outs: Sequence[str], bundle: Bundle, serving: str | None, progress: Progress = lambda done, of: None
) -> Replayed:
    """As `replay`, and have the flipped rows done again by the next run of each run's own command.

    `serving` is the registry's promoted bundle: that one will judge the rows, so it has to be this one.

    Raises:
        UserMistake: as `replay`; E_PINNED, a run has one bundle for good; E_NOT_PROMOTED.
    """
    for out in outs:
        require_following(out, read_record(open_store(out)))
    if serving != bundle.bundle_id:
        raise UserMistake(
            f"bundle {bundle.bundle_id} is not the one that serves ({serving or 'none does'}), which would judge the "
            f"rows again: run `autosteer promote {bundle.bundle_id}` first, or leave out --regenerate",
            "E_NOT_PROMOTED",
        )
    found, began = Replayed(str(bundle.bundle_id)), time.monotonic()
    parts, wanted = _parts(outs), Counter[str]()
    for out, store, record, again in _reread(parts, bundle, progress):
        _count(found, out, record, again)
        if again is not None and len(again.flips):
            marked_N = np.zeros(record.rows, np.bool_)
            marked_N[again.place_N[again.flips]] = True
            wanted[out] += redo_rows(store, record, marked_N.tolist(), "replay")
    for out, rows in wanted.items():
        about = {"rows": rows, "bundle_id": str(bundle.bundle_id), "reason": "replay"}
        log_deed(open_store(out), Deed.ROWS_REOPENED, about)
    found.reopened, found.seconds = wanted.total(), time.monotonic() - began
    return found


_Of = tuple[str, BlobStore, CommitRecord]


def _parts(outs: Sequence[str]) -> list[_Of]:
    """Current parts of all runs; refused before the first is read."""
    parts = []
    for out in outs:
        store = open_store(out)
        if "judge" in read_record(store)["settings"]:
            raise UserMistake(f"{out} is an audit of answers by a model, which has no gate: replay is for other runs")
        records = read_records(store).current
        if records and not any(record.activations for record in records):
            raise UserMistake(
                f"{out} keeps no activations: run it again with --set activations=true to have them for the next time"
            )
        parts += [(out, store, record) for record in records]
    return parts


def _reread(
    parts: Sequence[_Of], bundle: Bundle, progress: Progress
) -> Iterator[tuple[str, BlobStore, CommitRecord, Reread | None]]:
    with one_thread_each() as pool:
        work = pool.map(lambda part: reread(part[1], part[2], bundle), parts)
        for done, ((out, store, record), again) in enumerate(zip(parts, work, strict=True), 1):
            yield out, store, record, again
            progress(done, len(parts))


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """As many threads as cores, in each of which torch has one: parts are small, and there are many."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cpu_count(), "replay", partial(torch.set_num_threads, 1)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _count(found: Replayed, out: str, record: CommitRecord, again: Reread | None) -> None:
    found.rows += record.rows
    if again is None:
        return
    found.read += len(again.risk_N)
    found.unreadable += int((~np.isfinite(again.risk_N)).sum())
    for flip in _flips(out, record, again):
        found.flips.append(flip)
        found.by_modality[flip.modality] += 1
        found.opened += flip.gate_open
        found.closed += not flip.gate_open


def _flips(out: str, record: CommitRecord, again: Reread) -> Iterator[Flip]:
    flips = again.flips
    for index, item_id in zip(flips.tolist(), again.item_ids(flips), strict=True):
        place = int(again.place_N[index])
        yield Flip(
            out, record.part_id, record.start + place, item_id, str(again.modality_N[index]),
            _number(again.gates.risk_N[place]), _number(again.risk_N[index]),
            bool(again.gates.open_N[place]) if again.gates.judged_N[place] else None, bool(again.gate_N[index]),
        )  # fmt: skip


def _number(risk: float) -> float | None:
    return float(risk) if np.isfinite(risk) else None
