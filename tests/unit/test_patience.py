"""Waiting for what does not answer."""

from itertools import pairwise

import pytest

from autosteer_core.errors import LeaseLost, Unreachable
from tests.doubles import FakeClock
from workers.patience import Patience


class Store:
    """Answers after so many calls."""

    def __init__(self, silent: int) -> None:
        self.silent = silent

    def ask(self) -> str:
        self.silent -= 1
        if self.silent >= 0:
            raise Unreachable("the store is not answering")
        return "bytes"


def test_it_asks_again_with_growing_pauses_until_there_is_an_answer() -> None:
    clock, started = FakeClock(), []

    def pulse() -> None:
        started.append(clock.now())

    patience = Patience(pulse, clock.advance)

    assert patience.through(Store(silent=12).ask) == "bytes"
    waited = clock.now() - 1000
    assert 100 < waited < 12 * 30
    assert max(later - earlier for earlier, later in pairwise(started)) <= 1.001


def test_leases_are_renewed_while_it_waits_and_a_lost_one_ends_the_wait() -> None:
    pulses: list[int] = []

    def pulse() -> None:
        pulses.append(1)
        if len(pulses) == 5:
            raise LeaseLost("another worker has it")

    with pytest.raises(LeaseLost):
        Patience(pulse, lambda seconds: None).through(Store(silent=100).ask)


def test_any_other_error_is_told_at_once() -> None:
    def broken() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        Patience(lambda: None, lambda seconds: None).through(broken)
