"""Labelled activations as Parquet bytes: equal materials give equal bytes, which their hash is of."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import HALF
from autosteer_core.material import Material, Origin
from infra.activation_files import ORIGIN
from infra.parquet_file import opened_parquet

_TEXTS = ("item_id", "group", "modality", "language", "source", "unit", "labeller", "use")
_WHERE = "a file of labelled activations"
_GROUP_ROWS = 8192  # one row group in memory beside the whole: 40 MB at 2,304 numbers a row
_SHARED = pa.dictionary(pa.int32(), pa.string())


def material_to_parquet(material: Material) -> bytes:
    """Activations become float16.

    Raises:
        UserMistake: a number that float16 cannot hold, or no row.
    """
    if not len(material):
        raise UserMistake("there is no labelled activation to write: label items of a run first", "E_MATERIAL")
    sink = BytesIO()
    schema = _schema(material.activation_ND.shape[1])
    with pq.ParquetWriter(
        sink, schema, compression="zstd", write_page_checksum=True, use_dictionary=[*_TEXTS, *ORIGIN]
    ) as writer:
        for start in range(0, len(material), _GROUP_ROWS):
            rows = np.arange(start, min(start + _GROUP_ROWS, len(material)))
            writer.write_table(_table(material.take(rows), schema), row_group_size=_GROUP_ROWS)
    return sink.getvalue()


def material_from_parquet(data: bytes) -> Material:
    """Inverse, but for the digits that float16 has not; page checksums are verified.

    Raises:
        UserMistake: no such file, a damaged one, or one with rows of several models.
    """
    with opened_parquet(BytesIO(data), _WHERE) as file:
        width = _width(file.schema_arrow)
        activation_ND = torch.empty(file.metadata.num_rows, width)
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _names()}
        origins, start = set(), 0
        for table in _row_groups(file):
            stop = start + len(table)
            activation_ND[start:stop] = torch.from_numpy(_halves(table["activation"], width))
            for name, parts in columns.items():
                parts.append(_column(table, name))
            origins |= {
                tuple(row.values()) for row in table.select(ORIGIN).group_by(ORIGIN).aggregate([]).to_pylist()
            }
            start = stop
    if len(origins) != 1:
        raise _foreign(f"it is of {len(origins)} models or sets of sites, expected one")
    _refuse_non_finite(activation_ND)
    joined = {f"{name}_N": np.concatenate(parts) for name, parts in columns.items()}
    return Material(Origin.parsed(*origins.pop()), activation_ND, **joined)


def _names() -> tuple[str, ...]:
    return "harmful", "content", *_TEXTS


def _schema(width: int) -> pa.Schema:
    kinds = {"harmful": pa.bool_(), "content": pa.binary(32)} | {name: _SHARED for name in _TEXTS}
    kinds |= {"item_id": pa.string(), "activation": pa.binary(2 * width)} | {name: _SHARED for name in ORIGIN}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def _table(material: Material, schema: pa.Schema) -> pa.Table:
    _refuse_non_finite(material.activation_ND.half())
    half_ND = material.activation_ND.half().numpy().astype(HALF)
    rows, width = half_ND.shape
    origin = (material.origin.fingerprint, material.origin.sites_text)
    arrays = {name: pa.array(column.tolist()) for name, column in _by_name(material).items()}
    arrays["content"] = pa.array(material.content_N.tolist(), pa.binary(32))
    arrays["activation"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * width), rows, [None, pa.py_buffer(half_ND.tobytes())]
    )
    arrays |= {name: pa.array([text] * rows) for name, text in zip(ORIGIN, origin, strict=True)}
    return pa.table([_as(arrays[field.name], field.type) for field in schema], schema=schema)


def _as(array: Any, kind: Any) -> Any:
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array


def _by_name(material: Material) -> dict[str, NDArray[Any]]:
    return {name.removesuffix("_N"): column for name, column in material.columns().items()}


def _width(schema: Any) -> int:
    kind = schema.field("activation").type if "activation" in schema.names else pa.null()
    width = kind.byte_width // 2 if pa.types.is_fixed_size_binary(kind) else 0
    if not schema.equals(_schema(width)):
        raise _foreign(f"it has the columns {', '.join(schema.names)[:400]}")
    return int(width)


def _row_groups(file: Any) -> Iterator[Any]:
    for number in range(file.metadata.num_row_groups):
        yield file.read_row_group(number)


def _halves(column: Any, width: int) -> NDArray[np.float16]:
    """Out of Arrow's own memory: a Python object a row would take longer than the training."""
    whole = column.combine_chunks()
    array = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    numbers = np.frombuffer(array.buffers()[1], HALF).reshape(-1, width)
    return np.array(numbers[array.offset : array.offset + len(array)], np.float16)


def _column(table: Any, name: str) -> NDArray[Any]:
    values = table[name].to_pylist()
    if name == "content":
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.array(values, bool if name == "harmful" else np.str_)


def _refuse_non_finite(activation_ND: torch.Tensor) -> None:
    wrong = int((~torch.isfinite(activation_ND).all(dim=1)).sum())
    if wrong:
        raise UserMistake(
            f"{wrong} of {len(activation_ND)} labelled activations are not finite, or beyond the 65,504 of float16: "
            "leave out the rows",
            "E_MATERIAL",
        )


def _foreign(what: str) -> UserMistake:
    return UserMistake(
        f"this is no file of labelled activations, {what}: name one that this version wrote", "E_MATERIAL"
    )
