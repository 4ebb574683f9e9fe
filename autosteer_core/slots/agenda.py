"""Which work comes next: courses are read a window ahead, and what a course asks for later goes before new ones."""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Generic, TypeVar

from autosteer_core.decoding import Answer
from autosteer_core.work import Course, Work

T = TypeVar("T")

_WINDOW = 3  # times the slots: enough for prompts of similar length to meet, and little of an endless source


class Agenda(Generic[T]):
    """Open courses by place. A window is sorted by length, every other one backwards, so that their ends meet."""

    def __init__(self, courses: Iterable[Course[T]], slots: int) -> None:
        self._source = enumerate(courses)
        self._slots = slots
        self._open: dict[int, Course[T]] = {}
        self._ended: list[tuple[int, T]] = []
        self._exhausted = self._backwards = False
        self.waiting: deque[tuple[int, Work]] = deque()
        self.alone: deque[tuple[int, Work]] = deque()

    @property
    def done(self) -> bool:
        """Every course has ended."""
        return self._exhausted and not self._open

    def read_ahead(self) -> None:
        """Begin a window of courses where fewer wait than there are slots."""
        if self._exhausted or len(self.waiting) >= self._slots:
            return
        window = list(islice(self._source, _WINDOW * self._slots))
        self._exhausted = len(window) < _WINDOW * self._slots
        self._open |= window
        begun = [(place, work) for place, _ in window if (work := self._asked(place, None)) is not None]
        begun.sort(key=lambda each: each[1].length, reverse=self._backwards)
        self._backwards = not self._backwards
        self.waiting.extend(begun)

    def answer(self, place: int, answer: Answer | None) -> None:
        """Hand a course the answer to its work; what it asks for next goes to the front."""
        work = self._asked(place, answer)
        if work is not None:
            (self.alone if work.alone else self.waiting).appendleft((place, work))

    def ended(self) -> list[tuple[int, T]]:
        """Results of the courses that have ended since the last call, with their places."""
        ended, self._ended = self._ended, []
        return ended

    def _asked(self, place: int, answer: Answer | None) -> Work | None:
        try:
            return self._open[place].send(answer)
        except StopIteration as end:
            del self._open[place]
            self._ended.append((place, end.value))
            return None
