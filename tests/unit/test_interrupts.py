"""Ctrl-C is neither lost nor late."""

import os
import signal

import pytest

from pipelines.interrupts import asked_to_stop


class Callback:
    """Code that a library runs where Python ignores exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # gives the handler its turn in here


def test_ctrl_c_inside_a_callback_is_heard_at_the_next_question() -> None:
    with asked_to_stop() as check:
        check()
        callback = Callback()
        del callback
        with pytest.raises(KeyboardInterrupt):
            check()


def test_ctrl_c_pressed_twice_ends_at_once() -> None:
    with asked_to_stop():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)

    with asked_to_stop():
        pass

    assert signal.getsignal(signal.SIGINT) is before
