"""What probes read of the rows of a part, as Parquet bytes beside the verdicts: one row an item that was read."""

from collections.abc import Iterable, Mapping
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import HALF
from autosteer_core.values import Activation, Verdict
from infra.parquet_file import opened_parquet

# Told once a row, so that files of several runs and bundles can be read together: equal texts take no room.
ORIGIN = ("model_fingerprint", "sites")

_SHARED = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("content", pa.binary(32), nullable=False),  # SHA-256 of what the model was shown
        pa.field("activation", pa.binary(), nullable=False),  # float16, little-endian, the sites side by side
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
            **{name: origin[name] for name in ORIGIN},
        }
        for verdict in verdicts
        if verdict.activation is not None
    ]
    if not rows:
        return None
    sink = BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, _SCHEMA), sink, compression="zstd", write_page_checksum=True, use_dictionary=ORIGIN
    )
    return sink.getvalue()


def activations_from_parquet(data: bytes) -> dict[int, Activation]:
    """Row number -> what was kept of it; page checksums are verified.

    Raises:
        UserMistake: it is no file of activations, or it is damaged.
    """
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        table = file.read()
        if not table.schema.equals(_SCHEMA):
            raise UserMistake(f"this is no file of activations: it has the columns {', '.join(table.schema.names)}")
        return {row["row"]: Activation(row["content"], row["activation"]) for row in table.to_pylist()}


def contents_from_parquet(data: bytes) -> list[tuple[str, bytes]]:
    """(item id, content) of every row, without what was read of it."""
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        columns = file.read(columns=["item_id", "content"]).to_pydict()
    return list(zip(columns["item_id"], columns["content"], strict=True))


def origin_of(data: bytes) -> dict[str, str]:
    """What all rows of the file say that they were read from."""
    with opened_parquet(BytesIO(data), "a file of activations") as file:
        (row,) = file.read(columns=list(ORIGIN)).slice(0, 1).to_pylist()
    return dict(row)


def as_array(activations: Iterable[Activation]) -> np.ndarray:
    """Float32, (N, d)."""
    return np.stack([np.frombuffer(each.vector, HALF) for each in activations]).astype(np.float32)
