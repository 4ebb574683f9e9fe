"""Where the rows of a file of lines lie, noted for every 256th row only."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autosteer_core.cutting import Stretch, estimated_cost
from infra.json_lines import Line
from infra.row_to_item import MAX_TEXT_CHARS

EVERY = 256


@dataclass(slots=True)
class LineIndex:
    """Offset, line number and cost of every block of rows: 24 bytes for 256 rows. Blank lines are not rows."""

    rows: int = 0
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    numbers: "array[int]" = field(default_factory=lambda: array("Q"))
    costs: "array[float]" = field(default_factory=lambda: array("d"))

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "LineIndex":
        """One pass over all lines of a file."""
        index = cls()
        for line in lines:
            if index.rows % EVERY == 0:
                index.offsets.append(line.offset)
                index.numbers.append(line.number)
                index.costs.append(0.0)
            index.rows += 1
            index.costs[-1] += _cost(len(line.data))
        return index

    def before(self, row: int) -> tuple[int, int, int]:
        """(offset, line number, row) of the latest place at or before `row` that can be gone to at once."""
        block = row // EVERY
        return self.offsets[block], self.numbers[block], block * EVERY

    def stretches(self) -> Iterator[Stretch]:
        """One a block."""
        for block, cost in enumerate(self.costs):
            yield Stretch(min(EVERY, self.rows - block * EVERY), cost)


def _cost(size: int) -> float:
    """A line longer than any text that is allowed must hold a picture, in base64."""
    return estimated_cost(1, size, 0) if size <= MAX_TEXT_CHARS else estimated_cost(1, 0, size * 3 // 4)
