"""Small stand-ins for the outside world."""

from collections.abc import Iterator, Sequence

from autosteer_core.cutting import Stretch
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Item, Part


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = 1_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class Numbers:
    """A manifest of one file `f`, whose items are their row numbers."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def files(self) -> Sequence[tuple[str, int, str]]:
        return [("f", self.rows, "")]

    def row_ids(self) -> RowIds:
        return RowIds.of("f", ((row, str(row)) for row in range(self.rows)))

    def stretches(self, name: str) -> list[Stretch]:
        return [Stretch(self.rows, self.rows)]

    def items(self, part: Part) -> Iterator[Item]:
        return (Item(str(row), "", row=row) for row in range(part.start, part.stop))
