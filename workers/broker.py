"""The queue's one owner on a cluster, and how workers elsewhere reach it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError

from autosteer_core.errors import AutosteerError, LeaseLost, TryAgain, Unreachable
from autosteer_core.ports import GroupedQueue
from autosteer_core.values import Cause, Lease, Part, QueueCounts


@dataclass(frozen=True, slots=True)
class _Call:
    """One method of the queue that somebody waits for."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Future[Any] = field(default_factory=Future)


class Broker:
    """Holds the queue in one process, so that an embedded database has one connection.

    Calls that wait at the same time share one transaction, for what takes time is its way to the disk: whoever gets
    the queue first does all that wait, each in a savepoint, and nobody is answered before the commit. `clock` is this
    process's: the queue's may be that of another machine.
    """

    def __init__(self, open_queue: Callable[[], GroupedQueue], clock: Callable[[], float] = time.time) -> None:
        self._queue = open_queue()
        self._clock = clock
        self._held: dict[str, Lease] = {}  # by part: a claim replaces a lease that was lost
        self._waiting: deque[_Call] = deque()
        self._turn = Lock()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Run one method of the queue; its own errors travel back to the caller."""
        call = _Call(method, args, kwargs)
        self._waiting.append(call)
        with self._turn:
            if not call.answer.done():
                self._serve([self._waiting.popleft() for _ in range(len(self._waiting))])
        return call.answer.result()

    def close(self) -> None:
        """Let go of the queue's files and connections."""
        with self._turn:
            self._queue.close()

    def forfeit(self, worker: str, reason: str) -> None:
        """Give back all that a dead worker held, at once instead of when its lease expires.

        Only the supervisor calls this, after Ray reported the death. Were the worker alive after all, its
        token would be void and its commit refused.
        """
        with self._turn, self._queue.together():
            for lease in [lease for lease in self._held.values() if lease.worker == worker]:
                with suppress(LeaseLost):
                    self._queue.release(lease, reason, Cause.CRASH)
        # After the commit: a call that failed is repeated, and must find them again.
        self._held = {part_id: lease for part_id, lease in self._held.items() if lease.worker != worker}

    def overdue(self, now: float) -> list[str]:
        """Workers that hold a part past its lease: their loop is stuck, for a live one renews."""
        with self._turn:
            return sorted({lease.worker for lease in self._held.values() if lease.expires_at < now})

    def _serve(self, calls: Sequence[_Call]) -> None:
        """Do them all, commit, then answer: what was not committed was not done, for nobody."""
        try:
            with self._queue.together():
                answers = [self._outcome(call) for call in calls]
        except BaseException as error:
            for call in calls:
                call.answer.set_exception(error)
            if isinstance(error, AutosteerError):
                return
            raise
        for call, (result, refusal) in zip(calls, answers, strict=True):
            if refusal is not None:
                call.answer.set_exception(refusal)
                continue
            self._remember(call.method, call.args, result)
            call.answer.set_result(result)

    def _outcome(self, call: _Call) -> tuple[Any, Exception | None]:
        """The result, or the refusal of this call alone: its savepoint is rolled back, its neighbours stay."""
        try:
            with self._queue.together():
                return getattr(self._queue, call.method)(*call.args, **call.kwargs), None
        except TryAgain:
            raise  # the database did not answer, or gave up: that is nobody's alone
        except (AutosteerError, KeyError) as refusal:
            return None, refusal

    def _remember(self, method: str, args: Sequence[Any], result: Any) -> None:
        if method in ("claim", "renew"):
            leases = result if method == "claim" else [result]
            ends = self._clock() + args[1]
            self._held |= {lease.part.part_id: replace(lease, expires_at=ends) for lease in leases}
        elif method in ("complete", "release", "bury", "split"):
            self._held.pop(args[0].part.part_id, None)


_CALLS_AT_ONCE = 128  # threads; further calls wait in Ray

# A broker that dies is started again on the same queue: it forgets who holds what, and leases that end tell.
BrokerActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=_CALLS_AT_ONCE)(Broker)


class BrokeredQueue:
    """The PartQueue port over a Broker actor; a call is about a millisecond.

    A call that met a broker while it died raises Unreachable: it may have been done or not, and is safe to repeat. A
    claim of which nobody heard ends with its lease.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def forfeit(self, worker: str, reason: str) -> None:
        """See Broker."""
        _answered(self._broker.forfeit.remote(worker, reason))

    def overdue(self, now: float) -> list[str]:
        """See Broker."""
        return list(_answered(self._broker.overdue.remote(now)))

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _answered(self._broker.call.remote(method, *args, **kwargs))

    def add(self, parts: Sequence[Part]) -> int:
        """See PartQueue."""
        return int(self._call("add", parts))

    def mark_done(self, part_ids: Sequence[str]) -> None:
        """See PartQueue."""
        self._call("mark_done", part_ids)

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        """See PartQueue."""
        return list(self._call("claim", worker, seconds, limit))

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """See PartQueue."""
        renewed: Lease = self._call("renew", lease, seconds)
        return renewed

    def complete(self, lease: Lease) -> None:
        """See PartQueue."""
        self._call("complete", lease)

    def split(self, lease: Lease, halves: Sequence[Part]) -> None:
        """See PartQueue."""
        self._call("split", lease, halves)

    def release(self, lease: Lease, reason: str, cause: Cause) -> None:
        """See PartQueue."""
        self._call("release", lease, reason, cause)

    def bury(self, lease: Lease, reason: str) -> None:
        """See PartQueue."""
        self._call("bury", lease, reason)

    def reopen(self, part_ids: Sequence[str] | None = None) -> int:
        """See PartQueue."""
        return int(self._call("reopen", part_ids))

    def buried(self) -> dict[Part, str]:
        """See PartQueue."""
        return dict(self._call("buried"))

    def claims(self, part_id: str) -> int:
        """See PartQueue."""
        return int(self._call("claims", part_id))

    def counts(self) -> QueueCounts:
        """See PartQueue."""
        counts: QueueCounts = self._call("counts")
        return counts

    def close(self) -> None:
        """See PartQueue."""
        _answered(self._broker.close.remote())


def _answered(call: Any) -> Any:
    try:
        return ray.get(call)
    except ActorUnavailableError as error:
        raise Unreachable("the process that owns the queue died and is being started again") from error
