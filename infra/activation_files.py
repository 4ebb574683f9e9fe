"""What probes read of the rows of a part, as Parquet bytes beside the verdicts: one row an item that was read."""

from collections.abc import Collection, Iterable, Mapping
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import HALF
from autosteer_core.values import Activation, Modality, Verdict
from infra.parquet_file import opened_parquet

# Told once a row, so that files of several runs and bundles can be read together: equal texts take no room.
ORIGIN = ("model_fingerprint", "sites")

# Of float16 there is little to be saved, and a file is read far more often than it is written.
_COMPRESSION = {name: "zstd" for name in ("item_id", "row", "content", "modality", *ORIGIN)} | {"activation": "none"}

_SHARED = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("content", pa.binary(32), nullable=False),  # SHA-256 of what the model was shown
        pa.field("activation", pa.binary(), nullable=False),  # float16, little-endian, the sites side by side
        pa.field("modality", _SHARED, nullable=False),
        *(pa.field(name, _SHARED, nullable=False) for name in ORIGIN),
    ]
)


def activations_to_parquet(verdicts: Iterable[Verdict], origin: Mapping[str, str]) -> bytes | None:
    """The rows that were read, with their origin; None where none was kept."""
    rows = [
        {
            "item_id": verdict.item_id,
            "row": verdict.row,
            "content": verdict.activation.content,
            "activation": verdict.activation.vector,
            "modality": verdict.activation.modality.value,
            **{name: origin[name] for name in ORIGIN},
        }
        for verdict in verdicts
        if verdict.activation is not None
    ]
    if not rows:
        return None
    return written(pa.Table.from_pylist(rows, _SCHEMA))


def written(table: pa.Table) -> bytes:
    """A table with the columns of a file of activations, as its bytes."""
    sink = BytesIO()
    pq.write_table(
        table, sink, compression=_COMPRESSION, write_page_checksum=True, use_dictionary=["modality", *ORIGIN]
    )
    return sink.getvalue()


def activations_from_parquet(data: bytes) -> dict[int, Activation]:
    """Row number -> what was kept of it; page checksums are verified.

    Raises:
        UserMistake: it is no file of activations, or it is damaged.
    """
    rows = table_of(data).to_pylist()
    return {row["row"]: Activation(row["content"], row["activation"], Modality(row["modality"])) for row in rows}


def table_of(data: bytes) -> pa.Table:
    """The columns as they are stored; page checksums are verified.

    Raises:
        UserMistake: it is no file of activations, or it is damaged.
    """
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        table = file.read()
    require_activations(table.schema)
    return table


def require_activations(schema: pa.Schema) -> None:
    """Raise UserMistake unless these are the columns of a file of activations."""
    if not schema.equals(_SCHEMA):
        raise UserMistake(f"this is no file of activations: it has the columns {', '.join(schema.names)}")


def contents_from_parquet(data: bytes) -> list[tuple[str, bytes]]:
    """(item id, content) of every row, without what was read of it."""
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        columns = file.read(columns=["item_id", "content"]).to_pydict()
    return list(zip(columns["item_id"], columns["content"], strict=True))


def without_rows(data: bytes, rows: Collection[int]) -> bytes | None:
    """The file with all other rows; None where none is left."""
    table = table_of(data)
    left = table.filter(pc.invert(pc.is_in(table.column("row"), pa.array(sorted(rows), pa.int64()))))
    return written(left) if left.num_rows else None


def origin_of(data: bytes) -> dict[str, str]:
    """What all rows of the file say that they were read from."""
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        (row,) = file.read(columns=list(ORIGIN)).slice(0, 1).to_pylist()
    return dict(row)


def as_array(activations: Iterable[Activation]) -> np.ndarray:
    """Float32, (N, d)."""
    return np.stack([np.frombuffer(each.vector, HALF) for each in activations]).astype(np.float32)
