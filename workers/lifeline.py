"""The leases of the parts in work, renewed from the work itself: a worker that stands still loses them."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autosteer_core.errors import LeaseLost, Unreachable
from autosteer_core.ports import PartQueue
from autosteer_core.values import Lease

log = logging.getLogger(__name__)

_RENEWALS = 3  # in the time of one lease, so that one slow step does not cost it


class Stopped(Exception):
    """The worker was asked to stop; its parts go back without a failure."""


class Lifeline:
    """`pulse` is called between two steps of a model; a lease must outlast the longest step."""

    def __init__(self, queue: PartQueue, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = lease_seconds
        self._queue = queue
        self._clock = clock
        self._renewed = 0.0
        self._leases: dict[tuple[str, int], Lease] = {}
        self._stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def heeding(self, stopping: Callable[[], bool]) -> Iterator[None]:
        """Inside, pulses keep the leases that are held alive, and end the work once `stopping` says so."""
        self._stopping = stopping
        try:
            yield
        finally:
            self._leases.clear()

    def hold(self, lease: Lease) -> None:
        """Keep this lease alive from now on."""
        if not self._leases:
            self._renewed = self._clock()
        self._leases[_key(lease)] = lease

    def let_go(self, lease: Lease) -> None:
        """Renew it no more; no error if it is lost already."""
        self._leases.pop(_key(lease), None)

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is held, and not known to be lost."""
        return _key(lease) in self._leases

    def pulse(self) -> None:
        """Renew the leases when it is time to.

        Raises:
            Stopped: the worker was asked to stop.
            LeaseLost: other workers have all the parts that this one had.
        """
        if self._stopping():
            raise Stopped
        if self._leases and self._clock() - self._renewed >= self.seconds / _RENEWALS:
            self._renewed = self._clock()
            self._renew()

    def _renew(self) -> None:
        for lease in list(self._leases.values()):
            try:
                self._queue.renew(lease, self.seconds)
            except LeaseLost as lost:
                self.let_go(lease)
                log.info("dropped part %s: %s", lease.part.part_id, lost)
            except Unreachable as error:
                # Work goes on: what a lost lease would have decided, the fence decides when the part is finished.
                log.warning("a lease could not be renewed: %s", error)
        if not self._leases:
            raise LeaseLost("no part is left in work")


def _key(lease: Lease) -> tuple[str, int]:
    return lease.part.part_id, lease.token
