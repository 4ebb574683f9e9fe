"""A process that changes a registry and is killed by SIGKILL before or after one of its system calls."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_FORK = multiprocessing.get_context("fork")
_WRITES = {"write", "flush", "close", "fsync", "link", "unlink", "replace", "rename", "mkdir", "open"}


class Steps:
    """Counts the calls of the operating system that write: entering one is a step, and leaving it is another."""

    def __init__(self, dies_at: int = -1) -> None:
        self.names: list[str] = []
        self._dies_at = dies_at

    def during(self, act: Callable[[], object]) -> None:
        sys.setprofile(self._saw)
        try:
            act()
        finally:
            sys.setprofile(None)

    def _saw(self, frame: Any, event: str, called: Any) -> None:
        if event not in {"c_call", "c_return"} or not _writes(called):
            return
        if len(self.names) == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(f"{'before' if event == 'c_call' else 'after'} {called.__name__}")


def steps_of(act: Callable[[], object]) -> list[str]:
    """Those of an act that nobody kills, done in this process."""
    steps = Steps()
    steps.during(act)
    return steps.names


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Whether a process of its own died there by SIGKILL, in the middle of the act."""
    process = _FORK.Process(target=Steps(step).during, args=(act,))
    process.start()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def _writes(called: Any) -> bool:
    module = getattr(called, "__module__", None) or type(getattr(called, "__self__", None)).__module__
    return module in {"posix", "_io", "io"} and called.__name__ in _WRITES
