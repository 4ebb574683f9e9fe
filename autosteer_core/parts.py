"""The parts of a run: a sequence that keeps eight bytes a part and makes the parts when they are asked for."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import overload

from autosteer_core.values import Part, PartId


class Parts(Sequence[Part]):
    """File after file, each from its first row to its last without a hole."""

    def __init__(self, run_id: str, files: Iterable[tuple[str, Iterable[int]]]) -> None:
        """`files` gives, for every file of the manifest, the row after each of its parts."""
        self._run_id = run_id
        self._files = [(name, array("Q", stops)) for name, stops in files]
        self._ends = list(accumulate(len(stops) for _, stops in self._files))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> list[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | list[Part]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} parts, number {index} was asked for")
        number = bisect_right(self._ends, place)
        return self._part(number, place - (self._ends[number - 1] if number else 0))

    def __iter__(self) -> Iterator[Part]:
        for number, (_, stops) in enumerate(self._files):
            for place in range(len(stops)):
                yield self._part(number, place)

    def _part(self, number: int, place: int) -> Part:
        name, stops = self._files[number]
        start = stops[place - 1] if place else 0
        return Part(PartId(f"{self._run_id}-{number:03d}-{start:09d}"), name, start, stops[place])
