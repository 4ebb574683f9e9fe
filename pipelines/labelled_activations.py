"""What a probe is trained on: labels that hold, joined with what probes read of those items in earlier runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import HALF
from autosteer_core.label_book import Resolved, resolved
from autosteer_core.material import Material, Origin, require_origin
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from autosteer_core.values import Activation, Label
from infra.activation_files import activations_from_parquet, origin_of
from infra.open_store import open_store
from infra.verdict_rows import columns_from_parquet
from pipelines.labels import read_statements

_ANNOTATION = ("row", "item_id", "group", "pair", "source")
_BINARY = np.dtype("O")


@dataclass(frozen=True, slots=True)
class _Labelled:
    """One item that somebody labelled and a probe has read."""

    label: Resolved
    activation: Activation
    note: Mapping[str, Any]
    unit: str


def labelled_rows(registry: BlobStore, runs: Sequence[str], origin: Origin | None = None) -> Material:
    """One row for every labelled content that was read in one of the `runs`, in the order of the contents.

    `labeller_N` is `KIND:NAME`, with a `+` between several names; `use_N` is empty, nothing is assigned yet. A row
    of no known language or modality has an empty one. `origin` is expected; None takes that of the first run.

    Raises:
        UserMistake: no run at one of the addresses, it kept no activations, or they are of another origin.
    """
    labels = resolved(read_statements(registry))
    found: dict[bytes, _Labelled] = {}
    for out in runs:
        store = open_store(out)
        run_id, records = str(read_record(store)["run_id"]), read_records(store).current
        for record in records:
            data = read_activations_of(store, record)
            if data is None:
                continue
            origin = _checked(data, origin)
            for labelled in _labelled(store, record, data, labels, run_id):
                found.setdefault(labelled.activation.content, labelled)
    if origin is None:
        raise UserMistake(
            f"none of {len(runs)} runs keeps activations, which labels are joined with: run one with "
            "--set activations=true, and name it",
            "E_ACTIVATIONS_MISSING",
        )
    return _material(origin, [found[content] for content in sorted(found)])


def _checked(data: bytes, expected: Origin | None) -> Origin:
    told = origin_of(data)
    found = Origin.parsed(told["model_fingerprint"], told["sites"])
    if expected is not None:
        require_origin(found, expected)
    return found


def _labelled(
    store: BlobStore, record: CommitRecord, data: bytes, labels: Mapping[bytes, Resolved], run_id: str
) -> Iterator[_Labelled]:
    kept = {row: each for row, each in activations_from_parquet(data).items() if each.content in labels}
    if not kept:
        return
    columns = columns_from_parquet(read_part(store, record), _ANNOTATION)
    for values in zip(*columns.values(), strict=True):
        note = dict(zip(_ANNOTATION, values, strict=True))
        if note["row"] in kept:
            activation = kept[note["row"]]
            yield _Labelled(labels[activation.content], activation, note, _unit(activation, note, run_id))


def _unit(activation: Activation, note: Mapping[str, Any], run_id: str) -> str:
    """Twins of a run stay together; anything else stands alone."""
    return f"{run_id}/{note['pair']}" if note["pair"] else activation.content.hex()


def _material(origin: Origin, rows: Sequence[_Labelled]) -> Material:
    content_N = np.empty(len(rows), _BINARY)
    content_N[:] = [row.activation.content for row in rows]
    nothing_N = np.full(len(rows), "")
    return Material(
        origin,
        _activations(rows),
        harmful_N=np.array([row.label.label is Label.HARMFUL for row in rows], bool),
        content_N=content_N,
        item_id_N=_texts(str(row.note["item_id"]) for row in rows),
        group_N=_texts(row.note["group"] or "all" for row in rows),
        modality_N=nothing_N,
        language_N=nothing_N,
        source_N=_texts(row.note["source"] or "" for row in rows),
        unit_N=_texts(row.unit for row in rows),
        labeller_N=_texts(f"{row.label.kind}:{'+'.join(row.label.by)}" for row in rows),
        use_N=nothing_N,
    )


def _activations(rows: Sequence[_Labelled]) -> torch.Tensor:
    if not rows:
        return torch.empty(0, 0)
    halves_N = np.frombuffer(b"".join(row.activation.vector for row in rows), HALF)
    return torch.from_numpy(halves_N.astype(np.float32)).reshape(len(rows), -1)


def _texts(values: Iterator[str]) -> Any:
    return np.array(list(values), np.str_)
