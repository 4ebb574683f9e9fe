"""Verdicts as Parquet bytes that plain pyarrow, DuckDB and Spark read.

Spark needs no more than this: `row` is a signed 64-bit integer, and dictionaries, maps and lists are written as
plain Parquet, so they come back as strings, MAP and ARRAY. Whoever reads takes the paths from `dataset.json`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from autosteer_core.values import Action, Annotation, Flaw, Label, Reading, Verdict
from infra.parquet_file import opened_parquet

PROVENANCE = ("bundle_id", "model_fingerprint", "run_id", "part_id")

_REPEATED = pa.dictionary(pa.int32(), pa.string())  # a text that most rows of a part share
_READING = pa.struct(
    [pa.field("risk", pa.float64(), nullable=False), pa.field("gate_open", pa.bool_(), nullable=False)]
)
_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("action", _REPEATED, nullable=False),
        pa.field("risk", pa.float64()),  # null means that no risk was measured, never NaN
        pa.field("threshold", pa.float64()),
        pa.field("answer", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("error_place", pa.string()),  # manifest file:row:column, the last where it is known
        pa.field("gate_open", pa.bool_()),
        pa.field("gate_evaluations", pa.int32(), nullable=False),
        pa.field("opened_after", pa.int32()),  # tokens; null where the second look did not open the gate
        pa.field("steered_tokens", pa.int32(), nullable=False),
        pa.field("borderline", pa.bool_(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("label", pa.string()),
        pa.field("group", pa.string()),
        pa.field("pair", pa.string()),
        pa.field("source", pa.string()),
        pa.field("compared", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("beside", pa.map_(pa.string(), _READING), nullable=False),  # what other bundles read, by name
        pa.field("logprobs", pa.list_(pa.float32())),  # one a token that the model chose; null where not asked for
        *(pa.field(name, _REPEATED) for name in PROVENANCE),
    ]
)
COLUMNS = tuple(_SCHEMA.names)


def verdicts_to_parquet(verdicts: Iterable[Verdict], provenance: Mapping[str, str], file: str = "") -> bytes:
    """One row a verdict, each with the provenance: a row must tell by itself what made it.

    `file` is the manifest's file that the rows stand in; errors say where they are by it.
    """
    unknown = set(provenance) - set(PROVENANCE)
    if unknown:
        raise ValueError(f"provenance {sorted(unknown)} is not among {PROVENANCE}")
    shared = {name: provenance.get(name) for name in PROVENANCE}
    table = pa.Table.from_pylist([_row(verdict, file) | shared for verdict in verdicts], _SCHEMA)
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def provenance_of(data: bytes) -> dict[str, str]:
    """What all rows of a part say that they were made with."""
    with opened_parquet(BytesIO(data), "a file of verdicts") as file:
        (row,) = file.read(columns=list(PROVENANCE)).slice(0, 1).to_pylist()
    return {name: value for name, value in row.items() if value is not None}


def verdicts_from_parquet(data: bytes) -> list[Verdict]:
    """The verdicts in the order in which they were written; page checksums are verified."""
    with opened_parquet(BytesIO(data), "a file of verdicts") as file:
        table = file.read()
        if not table.schema.equals(_SCHEMA):
            raise UserMistake(f"this is no file of verdicts: it has the columns {', '.join(table.schema.names)}")
        # Damage in a dictionary page is noticed only here, when its indices are followed.
        rows = table.to_pylist()
    return [_verdict(row) for row in rows]


def lacking_columns(data: bytes) -> list[str]:
    """Names of those columns of a verdict that the file does not have, or has of another type."""
    with opened_parquet(BytesIO(data), "a file of verdicts") as file:
        found = {field.name: field.type for field in file.schema_arrow}
    return [field.name for field in _SCHEMA if found.get(field.name) != field.type]


def _row(verdict: Verdict, file: str) -> dict[str, Any]:
    flaw, annotation = verdict.flaw, verdict.annotation
    return {
        "item_id": verdict.item_id,
        "row": verdict.row,
        "action": verdict.action.value,
        "risk": None if math.isnan(verdict.risk) else verdict.risk,
        "threshold": verdict.threshold,
        "answer": verdict.answer,
        "error_code": flaw and flaw.code,
        "error_message": flaw and flaw.message,
        "error_place": flaw and ":".join([file, str(verdict.row), *filter(None, [flaw.column])]),
        "gate_open": verdict.gate_open,
        "gate_evaluations": verdict.gate_evaluations,
        "opened_after": verdict.opened_after,
        "steered_tokens": verdict.steered_tokens,
        "borderline": verdict.borderline,
        "finish_reason": verdict.finish_reason,
        "label": annotation.label and annotation.label.value,
        "group": annotation.group,
        "pair": annotation.pair,
        "source": annotation.source,
        "compared": sorted(verdict.compared.items()),
        "beside": [(name, asdict(verdict.beside[name])) for name in sorted(verdict.beside)],
        "logprobs": verdict.logprobs,
    }


def _verdict(row: dict[str, Any]) -> Verdict:
    code, label = row["error_code"], row["label"]
    return Verdict(
        item_id=row["item_id"],
        row=row["row"],
        action=Action(row["action"]),
        risk=math.nan if row["risk"] is None else row["risk"],
        threshold=row["threshold"],
        answer=row["answer"],
        flaw=None if code is None else Flaw(code, row["error_message"], _column(row["error_place"])),
        gate_open=row["gate_open"],
        gate_evaluations=row["gate_evaluations"],
        opened_after=row["opened_after"],
        steered_tokens=row["steered_tokens"],
        borderline=row["borderline"],
        finish_reason=row["finish_reason"],
        annotation=Annotation(label and Label(label), row["group"], row["pair"], row["source"]),
        compared=dict(row["compared"]),
        beside={name: Reading(**reading) for name, reading in row["beside"]},
        logprobs=None if row["logprobs"] is None else tuple(row["logprobs"]),
    )


def _column(place: str) -> str | None:
    """The last piece of a place, unless that is the row's number: none of our columns is called by one."""
    last = place.rpartition(":")[2]
    return None if last.isdigit() else last
