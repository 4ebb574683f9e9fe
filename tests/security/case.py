"""One kind of bad input: how it is made, how it reaches the service, and what must be said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from autosteer_core.errors import AutosteerError, BadItem


class Level(StrEnum):
    """What is refused: the start of a command, the whole run, one row, or nothing at all."""

    START = "start"
    RUN = "run"
    ROW = "row"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service said: `said` is all that a person gets to read, `place` is where it points."""

    level: Level
    code: str = ""
    said: str = ""
    place: str = ""


Make = Callable[[Path, Random], Any]
Feed = Callable[[Any], Outcome]


@dataclass(frozen=True, slots=True)
class Case:
    """`make` writes the input below a folder and returns what `feed` hands to the service.

    `number` is the kind's, 1 to 96; a kind may have several cases. `place` must stand in what is said: a file, a
    column, a line, a setting.
    """

    number: int
    name: str
    make: Make
    feed: Feed
    level: Level
    code: str = ""
    place: str = ""

    @property
    def title(self) -> str:
        return f"{self.number:02d}-{self.name}"


def refused(attempt: Callable[[], object], level: Level) -> Outcome:
    """What an attempt that must fail says; FINE if it does not fail. An error that is not ours is not caught."""
    try:
        attempt()
    except BadItem as error:
        return Outcome(Level.ROW, error.flaw.code, str(error), error.flaw.column or "")
    except AutosteerError as error:
        return Outcome(level, error.code, str(error))
    return Outcome(Level.FINE)
