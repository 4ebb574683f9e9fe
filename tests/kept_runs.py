"""A run with activations as workers leave it, and its manifest, without a model: for what comes after a run."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from autosteer_core.commit import commit_part, seal
from autosteer_core.kept_activations import kept
from autosteer_core.row_ids import RowIds
from autosteer_core.run import Run, take_over
from autosteer_core.values import Action, Annotation, Item, Lease, Verdict
from infra.activation_files import activations_to_parquet
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.verdict_files import verdicts_to_parquet
from pipelines.reading import open_items

ORIGIN = {"model_fingerprint": "m" * 64, "sites": "2 last, 3 mean"}
THRESHOLD = 0.5


@dataclass(frozen=True)
class Row:
    """One item with what a run made of it; `pair` ties twins."""

    item_id: str
    text: str
    risk: float = 0.1
    answer: str | None = "Here is how."
    vector: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    picture: bytes | None = None
    pair: str | None = None


def kept_run(
    folder: Path, rows: Sequence[Row], out: str = "run", rows_per_part: int = 4, bundle_id: str = "bundle"
) -> str:
    """Address of the finished run; its manifest is `OUT.parquet` beside it."""
    manifest = folder / f"{out}.parquet"
    columns = {"id": "item_id", "text": "text", "image": "picture", "pair": "pair"}
    table = {name: pa.array([getattr(row, ours) for row in rows]) for name, ours in columns.items()}
    pq.write_table(pa.table(table), manifest)
    files = open_items(str(manifest)).files()
    run = Run("generate", str(manifest), files, bundle_id, {"columns": asdict(ColumnMap())})
    store, parts = FolderStore(folder / out), run.parts(rows_per_part)
    take_over(store, run)
    verdicts = [_verdict(number, row) for number, row in enumerate(rows)]
    for part in parts:
        some = verdicts[part.start : part.stop]
        provenance = {"run_id": run.run_id, "bundle_id": bundle_id, "model_fingerprint": "m" * 64}
        data = verdicts_to_parquet(some, provenance | {"part_id": part.part_id}, part.source)
        assert commit_part(store, Lease(part, 1, "w", 0.0), some, data, activations_to_parquet(some, ORIGIN))
    seal(store, parts, RowIds.of(files[0][0], ((row.row, row.item_id) for row in verdicts)))
    return str(folder / out)


def item(row: Row) -> Item:
    """What the model was shown."""
    return Item(row.item_id, row.text, () if row.picture is None else (row.picture,))


def plain_rows(count: int, seed: int = 0, shift: float = 0.0, width: int = 4) -> list[Row]:
    """Benign ones that differ in their text, activations drawn around `shift`."""
    random = np.random.default_rng(seed)
    return [
        Row(f"item-{seed}-{number}", f"question {number} of {seed}", vector=random.standard_normal(width) + shift)  # type: ignore[arg-type]
        for number in range(count)
    ]


def _verdict(number: int, row: Row) -> Verdict:
    vector_D = torch.tensor(np.asarray(row.vector), dtype=torch.float32)
    gate_open = row.risk >= THRESHOLD if math.isfinite(row.risk) else None
    action = Action.REVIEW if gate_open is None else Action.REFUSE if gate_open else Action.ANSWER
    return Verdict(
        row.item_id, number, action, row.risk, answer=None if gate_open is None else row.answer, threshold=THRESHOLD,
        gate_open=gate_open, gate_evaluations=1, annotation=Annotation(pair=row.pair),
        activation=kept(item(row), vector_D),
    )  # fmt: skip
