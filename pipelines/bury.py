"""Give up parts that were set aside: their rows become errors, so that the run can end and nothing is lost."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autosteer_core.audit_log import Deed
from autosteer_core.commit import commit_part
from autosteer_core.errors import UserMistake
from autosteer_core.records import read_records
from autosteer_core.run import FOLLOWING, read_record
from autosteer_core.values import Action, Flaw, Item, Lease, Part, Verdict
from infra.column_map import ColumnMap
from infra.open_store import open_store
from infra.verdict_files import verdicts_to_parquet
from pipelines.audit_heads import log_deed
from pipelines.queue_files import known_queue
from pipelines.reading import open_items


@dataclass(frozen=True, slots=True)
class Buried:
    """Rows that are errors from now on, and the parts that they stood in."""

    rows: int
    parts: int


def bury(out: str, part_ids: Sequence[str] = (), server: str | None = None) -> Buried:
    """Commit error rows, E_SET_ASIDE with the reason, for the parts; without `part_ids`, for all that are set aside.

    Raises:
        UserMistake: no run or no queue of it on this machine, or a part that is not set aside.
    """
    store = open_store(out)
    run = read_record(store)
    with known_queue(out, str(run["run_id"]), server) as queue:
        if queue is None:
            raise UserMistake(f"the queue of {out} is not on this machine: nothing is set aside here")
        reasons = queue.buried()
        _refuse_others(part_ids, reasons)
        chosen = [part for part in reasons if not part_ids or part.part_id in part_ids]
        manifest = open_items(run["manifest"], ColumnMap(**run["settings"]["columns"]))
        provenance = {"run_id": run["run_id"]}
        if run["bundle_id"] != FOLLOWING:  # there no bundle has seen them
            provenance["bundle_id"] = run["bundle_id"]
        known = read_records(store).commits
        for part in chosen:
            if part.part_id not in known:
                verdicts = [_given_up(item, reasons[part]) for item in manifest.items(part)]
                data = verdicts_to_parquet(verdicts, provenance | {"part_id": str(part.part_id)}, part.source)
                commit_part(store, Lease(part, 0, "bury", 0.0), verdicts, data)
        queue.mark_done([part.part_id for part in chosen])
    found = Buried(sum(part.rows for part in chosen), len(chosen))
    if chosen:
        about = {"run_id": run["run_id"], "rows": found.rows, "parts": found.parts}
        log_deed(store, Deed.PARTS_BURIED, about)
    return found


def _refuse_others(part_ids: Sequence[str], buried: Iterable[Part]) -> None:
    known = [str(part.part_id) for part in buried]
    for part_id in part_ids:
        if part_id not in known:
            raise UserMistake(f"part {part_id} is not set aside; those that are: {', '.join(known) or 'none'}")


def _given_up(item: Item, reason: str) -> Verdict:
    flaw = Flaw("E_SET_ASIDE", f"its part failed too often and was given up: {reason}")
    return Verdict(item.item_id, item.row, Action.ERROR, math.nan, flaw=flaw, annotation=item.annotation)
