"""One key at a time from the terminal: what was typed before its question was asked answers nothing."""

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from autosteer_core.errors import UserMistake

_END_OF_INPUT = "\x04"
_AT_ONCE = 64


class SingleKeys:
    """Over a terminal in single-key mode; see `single_keys`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def forget(self) -> None:
        """Drop what was typed so far: call it before the question is shown."""
        termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def wait(self, known: str) -> str | None:
        """The next key that is one of these; None where the input ended, or the terminal is gone.

        Several at once are a paste, or an arrow key, and mean nothing.
        """
        while True:
            try:
                typed = os.read(self._descriptor, _AT_ONCE).decode("utf-8", "replace")
            except OSError:  # the terminal was closed
                return None
            if not typed or typed == _END_OF_INPUT:
                return None
            if len(typed) == 1 and typed in known:
                return typed


@contextmanager
def single_keys() -> Iterator[SingleKeys]:
    """From standard input; at the end the terminal is as it was.

    Ctrl-C, a closed terminal and a request to end raise KeyboardInterrupt, so that what was decided can be kept.

    Raises:
        UserMistake: E_TERMINAL, a file or a pipe is no person.
    """
    if not sys.stdin.isatty():
        raise UserMistake(
            "standard input is no terminal, and a review needs a person at one: use `autosteer labels import` for "
            "labels from a file",
            "E_TERMINAL",
        )
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(descriptor)
        yield SingleKeys(descriptor)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
