"""A table of ours without the rows of one item: whatever its columns are, one of them is `item_id`."""

from dataclasses import dataclass
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.parquet_file import opened_parquet


@dataclass(frozen=True, slots=True)
class Without:
    """How many rows went, and the bytes of the others; None where none is left."""

    rows: int
    data: bytes | None


def without_item(data: bytes, item_id: str) -> Without:
    """The other rows in their order.

    Raises:
        UserMistake: it is no Parquet file, or it is damaged.
    """
    with opened_parquet(BytesIO(data), "a table of the registry") as file:
        table = file.read()
    left = table.filter(pc.not_equal(table.column("item_id"), pa.scalar(item_id)))
    if left.num_rows == table.num_rows:
        return Without(0, data)
    sink = BytesIO()
    pq.write_table(left, sink, compression="zstd", write_page_checksum=True)
    return Without(table.num_rows - left.num_rows, sink.getvalue() if left.num_rows else None)
