"""A hash of which ids stand at which rows that does not depend on their order: the parts add up to the whole."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

_BYTES = 16
_MODULUS = 1 << 8 * _BYTES


@dataclass(frozen=True, slots=True)
class RowIds:
    """How many rows there are, and the sum of their SHA-256 digests, cut to 128 bits and taken modulo 2^128.

    It finds what was lost, doubled or swapped by accident; it is no defence against somebody who chooses ids.
    """

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, source: str, ids: Iterable[tuple[int, str]]) -> "RowIds":
        """Rows of one file, each with its position and its item's id."""
        rows = total = 0
        start = hashlib.sha256(source.encode())
        for row, item_id in ids:
            digest = start.copy()
            digest.update(f"\0{row}\0{item_id}".encode("utf-8", "surrogatepass"))
            total += int.from_bytes(digest.digest()[:_BYTES], "big")
            rows += 1
        return cls(rows, total % _MODULUS)

    def __add__(self, other: "RowIds") -> "RowIds":
        return RowIds(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def __str__(self) -> str:
        return f"{self.total:032x}"
