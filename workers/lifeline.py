"""The lease of the part in work, renewed from the work itself: a worker that stands still loses it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autosteer_core.ports import PartQueue
from autosteer_core.values import Lease

_RENEWALS = 3  # in the time of one lease, so that one slow step does not cost it


class Stopped(Exception):
    """The worker was asked to stop; its part goes back without a failure."""


class Lifeline:
    """`pulse` is called between two steps of a model; a lease must outlast the longest step."""

    def __init__(self, queue: PartQueue, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = lease_seconds
        self._queue = queue
        self._clock = clock
        self._renewed = 0.0
        self._lease: Lease | None = None
        self._stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def holding(self, lease: Lease, stopping: Callable[[], bool]) -> Iterator[None]:
        """Keep this lease alive as long as the work inside sends pulses."""
        self._lease, self._stopping, self._renewed = lease, stopping, self._clock()
        try:
            yield
        finally:
            self._lease = None

    def pulse(self) -> None:
        """Renew the lease when it is time to; without a part in work, nothing.

        Raises:
            Stopped: the worker was asked to stop.
            LeaseLost: another worker has the part.
        """
        if self._lease is None:
            return
        if self._stopping():
            raise Stopped
        if self._clock() - self._renewed >= self.seconds / _RENEWALS:
            self._lease = self._queue.renew(self._lease, self.seconds)
            self._renewed = self._clock()
