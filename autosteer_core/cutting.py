"""Where a file is cut into parts: by what its rows cost, and at the borders of its row groups where that is cheap."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Goes into the identity of a run: an output that was cut by another rule cannot be continued.
RULE = 1

_TEXT_BYTES = 4096  # about a thousand tokens, which cost as much as a plain row and its answer
_PICTURE_BYTES = 65_536
_MOST = 4.0  # a picture is scaled down and a text is cut off, so no row costs the model more than a few plain ones
_NEARLY_FULL = 0.75


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive rows that a reader can skip at once; `cost` is their sum, in plain rows."""

    rows: int
    cost: float


def estimated_cost(rows: int, text_bytes: int, picture_bytes: int) -> float:
    """Plain rows that `rows` rows with so many bytes are worth: between once and four times their number.

    A short text counts 1, a text of 8 KiB 2, a picture of 192 KiB 3. Bytes are what is stored, before any decoding.
    """
    return min(max(text_bytes / _TEXT_BYTES + picture_bytes / _PICTURE_BYTES, rows), rows * _MOST)


def cut(stretches: Iterable[Stretch], rows_per_part: int) -> Iterator[int]:
    """The row after each part, in order: a part has, and costs, at most `rows_per_part` plain rows.

    A part that is three quarters full at the end of a stretch ends there, so that the next one starts where a reader
    can start. A single row may cost more than a whole part may: it is a part of its own.
    """
    row, spent = 0, 0.0
    for stretch in stretches:
        end, each = row + stretch.rows, stretch.cost / max(stretch.rows, 1)
        while row < end:
            room = int((rows_per_part - spent) / each)
            if room < 1 and spent:
                yield row
                spent = 0.0
                continue
            taken = min(max(room, 1), end - row)
            row, spent = row + taken, spent + taken * each
        if spent >= _NEARLY_FULL * rows_per_part:
            yield row
            spent = 0.0
    if spent:
        yield row
