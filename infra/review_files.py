"""The review table of a run as Parquet bytes: which rows to look at, why, and where they stand, not what they say."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from autosteer_core.flagging import Flagged, Reason
from infra.parquet_file import opened_parquet

_REPEATED = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("content", pa.binary(32), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("source", _REPEATED, nullable=False),  # the manifest's file
        pa.field("row", pa.int64(), nullable=False),
        pa.field("action", _REPEATED, nullable=False),
        pa.field("risk", pa.float64()),  # null means that no risk was measured, never NaN
        pa.field("threshold", pa.float64()),
        pa.field("bundle_id", _REPEATED),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field("judges", pa.list_(pa.string()), nullable=False),
        pa.field("distance", pa.float64()),
    ]
)
_ABOUT = b"autosteer_run"


@dataclass(frozen=True, slots=True)
class ReviewTable:
    """`out` is the address of the run's output, `manifest` that of what it read; both absolute."""

    run_id: str
    out: str
    manifest: str
    rows: tuple[Flagged, ...]


def review_to_parquet(table: ReviewTable) -> bytes:
    """One row a flagged row; the run stands in the file's metadata."""
    about = {"run_id": table.run_id, "out": table.out, "manifest": table.manifest}
    schema = _SCHEMA.with_metadata({_ABOUT: json.dumps(about, sort_keys=True).encode()})
    sink = BytesIO()
    pq.write_table(
        pa.Table.from_pylist(list(map(_row, table.rows)), schema), sink, compression="zstd", write_page_checksum=True
    )
    return sink.getvalue()


def review_from_parquet(data: bytes) -> ReviewTable:
    """Inverse of `review_to_parquet`; page checksums are verified.

    Raises:
        UserMistake: it is no review table, or it is damaged.
    """
    with opened_parquet(BytesIO(data), "a review table") as file:
        table = file.read()
    try:
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        if not table.schema.equals(_SCHEMA):
            raise ValueError(f"it has the columns {', '.join(table.schema.names)}")
        return ReviewTable(about["run_id"], about["out"], about["manifest"], tuple(_flagged(table.to_pylist())))
    except (ValueError, KeyError, TypeError) as error:
        raise UserMistake(f"this is no review table ({error}): run `autosteer flags` again") from error


def _row(row: Flagged) -> dict[str, Any]:
    return asdict(row) | {
        "risk": None if math.isnan(row.risk) else row.risk,
        "reasons": [reason.value for reason in row.reasons],
    }


def _flagged(rows: Iterable[dict[str, Any]]) -> Iterable[Flagged]:
    for row in rows:
        yield Flagged(
            **row
            | {
                "risk": math.nan if row["risk"] is None else row["risk"],
                "reasons": tuple(map(Reason, row["reasons"])),
                "judges": tuple(row["judges"]),
            }
        )
