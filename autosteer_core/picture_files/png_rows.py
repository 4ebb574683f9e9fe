"""Whether a PNG holds all of its rows: Pillow leaves those that are missing black, and says nothing."""

import zlib
from collections.abc import Iterable, Iterator

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Interlaced pictures come as seven smaller ones: first column, first row, step across, step down.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_WHOLE = ((0, 0, 1, 1),)
_PIECE = 2**18


def has_all_rows(header: bytes, packed: Iterable[memoryview]) -> bool:
    """Inflates as far as the header of 13 bytes says that it goes, a piece at a time; raises zlib.error."""
    missing = _row_bytes(header)
    for piece in _inflated(packed):
        missing -= piece
        if missing <= 0:
            return True
    return missing <= 0


def _row_bytes(header: bytes) -> int:
    """Of all rows, each with the byte that names its filter."""
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits = _CHANNELS.get(header[9], 1) * header[8]
    total = 0
    for left, top, across, down in _PASSES if header[12] else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(packed: Iterable[memoryview]) -> Iterator[int]:
    inflater = zlib.decompressobj()
    for piece in packed:
        rest: bytes | memoryview = piece
        while rest and not inflater.eof:
            found = len(inflater.decompress(rest, _PIECE))
            rest = inflater.unconsumed_tail
            yield found
