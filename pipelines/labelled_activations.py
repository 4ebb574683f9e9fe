"""What a probe is trained on: labels that hold, joined with what probes read of those items in earlier runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.errors import UserMistake
from autosteer_core.label_book import Resolved, resolved
from autosteer_core.material import Material, Origin, require_origin
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from autosteer_core.values import Label
from infra.activation_table import ActivationTable, activation_table, taken
from infra.open_store import open_store
from infra.verdict_rows import columns_from_parquet
from pipelines.labels import read_statements

_ANNOTATION = ("row", "group", "pair", "source")
_Note = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """One item that somebody labelled and a probe has read."""

    content: bytes
    label: Resolved
    item_id: str
    modality: str
    note: _Note


def labelled_rows(registry: BlobStore, runs: Sequence[str], origin: Origin | None = None) -> Material:
    """One row for every labelled content that was read in one of the `runs`, in the order of the contents.

    `labeller_N` is `KIND:NAME`, with a `+` between several names; `use_N` is empty, nothing is assigned yet, and so
    is `language_N`, which no run tells. `origin` is expected; None takes that of the first run.

    Raises:
        UserMistake: no run at one of the addresses, it kept no activations, or they are of another origin.
    """
    labels = resolved(read_statements(registry))
    found: dict[bytes, _Labelled] = {}
    activations: list[NDArray[np.float16]] = []
    for run_id, store, record, data in _kept_parts(runs):
        table = activation_table(data, verified=True)
        origin = _checked(table, origin)
        contents = [bytes(content) for content in table.content_N.tolist()]
        places = _first_places(contents, labels, found)
        if places:
            activations.append(table.activation_ND[places])
            notes = _notes(store, record, run_id)
            ids = taken([table.ids], np.array(places))
            for place, item_id in zip(places, ids, strict=True):
                content, note = contents[place], notes[int(table.row_N[place])]
                modality = str(table.modality_N[place])
                found[content] = _Labelled(content, labels[content], item_id, modality, note)
    if origin is None:
        raise UserMistake(
            f"none of {len(runs)} runs keeps activations, which labels are joined with: run one with "
            "--set activations=true, and name it",
            "E_ACTIVATIONS_MISSING",
        )
    return _material(origin, list(found.values()), activations)


def _kept_parts(runs: Sequence[str]) -> Iterator[tuple[str, BlobStore, CommitRecord, bytes]]:
    for out in runs:
        store = open_store(out)
        run_id = str(read_record(store)["run_id"])
        for record in read_records(store).current:
            data = read_activations_of(store, record)
            if data is not None:
                yield run_id, store, record, data


def _checked(table: ActivationTable, expected: Origin | None) -> Origin:
    found = Origin.parsed(table.origin["model_fingerprint"], table.origin["sites"])
    if expected is not None:
        require_origin(found, expected)
    return found


def _first_places(
    contents: Sequence[bytes], labels: Mapping[bytes, Resolved], found: Mapping[bytes, _Labelled]
) -> list[int]:
    """Of every labelled content that was not found before, the first place in this part."""
    first: dict[bytes, int] = {}
    for place, content in enumerate(contents):
        if content in labels and content not in found:
            first.setdefault(content, place)
    return list(first.values())


def _notes(store: BlobStore, record: CommitRecord, run_id: str) -> dict[int, _Note]:
    """Row -> what the manifest's author said of it; the pair is named by its run, where alone it means something."""
    columns = columns_from_parquet(read_part(store, record), _ANNOTATION)
    found: dict[int, _Note] = {}
    for values in zip(*columns.values(), strict=True):
        note = dict(zip(_ANNOTATION, values, strict=True))
        found[note["row"]] = note | {"pair": note["pair"] and f"{run_id}/{note['pair']}"}
    return found


def _material(origin: Origin, rows: Sequence[_Labelled], activations: Sequence[NDArray[np.float16]]) -> Material:
    order = np.array(sorted(range(len(rows)), key=lambda place: rows[place].content), np.int64)
    rows = [rows[place] for place in order]
    content_N = np.empty(len(rows), np.dtype("O"))
    content_N[:] = [row.content for row in rows]
    half_ND = np.concatenate(activations)[order] if activations else np.empty((0, 0), np.float16)
    return Material(
        origin,
        torch.from_numpy(half_ND.astype(np.float32)),
        harmful_N=np.array([row.label.label is Label.HARMFUL for row in rows], bool),
        content_N=content_N,
        item_id_N=_texts(row.item_id for row in rows),
        group_N=_texts(row.note["group"] or "all" for row in rows),
        modality_N=_texts(row.modality for row in rows),
        language_N=np.full(len(rows), ""),
        source_N=_texts(row.note["source"] or "" for row in rows),
        unit_N=_texts(row.note["pair"] or row.content.hex() for row in rows),
        labeller_N=_texts(f"{row.label.kind}:{'+'.join(row.label.by)}" for row in rows),
        use_N=np.full(len(rows), ""),
    )


def _texts(values: Iterator[str]) -> Any:
    return np.array(list(values), np.str_)
