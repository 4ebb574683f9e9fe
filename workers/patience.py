"""Waiting for a store that does not answer: the circuit stays open, leases are kept, nobody is blamed."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from autosteer_core.errors import Unreachable

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """`pulse` is called every `slice_seconds` of waiting: it renews leases, and its errors end the wait."""

    pulse: Callable[[], None]
    sleep: Callable[[float], None] = time.sleep
    slice_seconds: float = 1.0

    def through(self, act: Callable[[], T]) -> T:
        """What `act` gives, as soon as what it needs answers; `act` may run often, so it must be safe to repeat."""
        for pause in _pauses():
            try:
                return act()
            except Unreachable as error:
                self.rest(error, pause)
        raise AssertionError("pauses do not end")

    def rest(self, error: Unreachable, seconds: float = _LONGEST_SECONDS) -> None:
        """Wait some random part of so long, so that workers that stopped together do not come back together."""
        log.warning("paused, nothing is lost: %s", error)
        left = random.uniform(seconds / 2, seconds)
        while left > 0:
            self.pulse()
            self.sleep(min(left, self.slice_seconds))
            left -= self.slice_seconds


def _pauses() -> Iterator[float]:
    seconds = _FIRST_SECONDS
    while True:
        yield seconds
        seconds = min(2 * seconds, _LONGEST_SECONDS)
