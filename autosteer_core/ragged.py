"""A module's output cut into the rows it was computed from, and rows put together again."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def cut(output: Any, counts: Sequence[int]) -> list[Any]:
    """Every row's own share of each tensor in `output`, copied; row n makes up `counts[n]` of the first dimension.

    A tensor whose first dimension is shorter or longer than all counts together is cut in the same proportion.
    """
    if isinstance(output, Tensor):
        total = sum(counts)
        return [piece.clone() for piece in output.split([count * len(output) // total for count in counts])]
    if isinstance(output, Mapping):
        pieces = {name: cut(value, counts) for name, value in output.items()}
        return [type(output)(**{name: rows[row] for name, rows in pieces.items()}) for row in range(len(counts))]
    if isinstance(output, list | tuple):
        return [tuple(row) for row in zip(*(cut(value, counts) for value in output), strict=True)]
    return [output] * len(counts)


def joined(rows: Sequence[Any]) -> Any:
    """Inverse of `cut`."""
    first = rows[0]
    if isinstance(first, Tensor):
        return torch.cat(list(rows))
    if isinstance(first, Mapping):
        return type(first)(**{name: joined([row[name] for row in rows]) for name in first})
    if isinstance(first, tuple):
        return tuple(joined(values) for values in zip(*rows, strict=True))
    return first


def bytes_of(row: Any) -> int:
    """Bytes of all tensors in it."""
    if isinstance(row, Tensor):
        return row.numel() * row.element_size()
    values = row.values() if isinstance(row, Mapping) else row if isinstance(row, tuple) else ()
    return sum(bytes_of(value) for value in values)
