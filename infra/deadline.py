"""A moment after which nothing is waited for any more, however slowly it trickles in."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from io import BufferedReader, RawIOBase
from socket import socket
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; TimeoutError once there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.seconds:g} s have passed")
        return left

    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def wait_for(self, act: Callable[[], T]) -> T:
        """What `act` returns, if it returns in time: for calls that take no timeout. Its thread may live on."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(act())
            except (OSError, ValueError) as error:
                future.set_exception(error)

        Thread(target=run, daemon=True).start()
        return future.result(self.left())


class SocketUntil:
    """The reading side of a socket, as `HTTPResponse` wants it: a timeout for all reads together, not for each."""

    def __init__(self, wire: socket, deadline: Deadline) -> None:
        self._wire = wire
        self._deadline = deadline

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(_Reads(self._wire, self._deadline))


class _Reads(RawIOBase):
    def __init__(self, wire: socket, deadline: Deadline) -> None:
        self._wire = wire
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._wire.settimeout(self._deadline.left())
        return self._wire.recv_into(buffer)
