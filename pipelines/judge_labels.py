"""What judges are sure of becomes their word: one judge alone makes no label, as no source does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.ports import BlobStore, ManifestReader
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from infra.activation_files import activations_from_parquet
from infra.open_store import open_store
from infra.verdict_rows import rows_from_parquet
from pipelines.answer_judges import AnswerJudge, answered
from pipelines.flagged_items import require_activations
from pipelines.labels import add_statements, checked_name, now
from pipelines.run_items import items_of_run
from pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Judging:
    """`manifest` is where the run's manifest was moved to."""

    out: str
    registry: str
    judges: Sequence[AnswerJudge]
    settings: Settings
    manifest: str | None = None


def label_by_judges(asked: Judging, progress: Callable[[int, int], None] = lambda done, of: None) -> int:
    """Add what the judges are sure of about the items of a run; returns how many statements are new.

    Raises:
        UserMistake: no run at `out`, it kept no activations, or its manifest is needed and is gone.
    """
    store = open_store(asked.out)
    run, records = read_record(store), read_records(store).current
    require_activations(asked.out, records)
    reads = any(judge.reads_prompt for judge in asked.judges)
    items = items_of_run(run, asked.settings, asked.manifest) if reads else None
    said: list[Statement] = []
    for done, record in enumerate(records):
        progress(done, len(records))
        said.extend(_said(store, record, items, asked.judges, str(run["run_id"])))
    return add_statements(open_store(asked.registry), said)


def _said(
    store: BlobStore, record: CommitRecord, items: ManifestReader | None, judges: Sequence[AnswerJudge], run_id: str
) -> Iterator[Statement]:
    data = read_activations_of(store, record)
    kept = activations_from_parquet(data) if data is not None else {}
    rows: dict[int, Any] = {row["row"]: row for row in rows_from_parquet(read_part(store, record))}
    found = answered([row for row in rows.values() if row["row"] in kept], items, record)
    at = now()
    for judge in judges if found else ():
        name = checked_name(judge.name, "--judge")
        for row, label in zip(found, judge.labels(list(found.values())), strict=True):
            if label is not None:
                yield Statement(kept[row].content, rows[row]["item_id"], label, name, LabellerKind.JUDGE, at, run_id)
