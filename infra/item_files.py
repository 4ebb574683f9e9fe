"""Items as Parquet bytes that a manifest reader takes back: for the rows that a command chose itself."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.values import Item

_TEXTS = ("id", "text", "system", "label", "group", "pair", "source")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("images", pa.list_(pa.binary()))])


def items_to_parquet(items: Sequence[Item]) -> bytes:
    """The same items give the same bytes."""
    sink = BytesIO()
    pq.write_table(pa.Table.from_pylist([_row(item) for item in items], _SCHEMA), sink, write_page_checksum=True)
    return sink.getvalue()


def _row(item: Item) -> dict[str, Any]:
    note = item.annotation
    return {
        "id": item.item_id, "text": item.text, "system": item.system, "images": list(item.images),
        "label": note.label and str(note.label), "group": note.group, "pair": note.pair, "source": note.source,
    }  # fmt: skip
