"""The queue's one owner on a cluster, and how workers elsewhere reach it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError

from autosteer_core.errors import LeaseLost, Unreachable
from autosteer_core.ports import PartQueue
from autosteer_core.values import Cause, Lease, Part, QueueCounts


class Broker:
    """Holds the queue in one process, so that an embedded database has one connection."""

    def __init__(self, open_queue: Callable[[], PartQueue]) -> None:
        self._queue = open_queue()
        self._held: dict[str, Lease] = {}  # by part: a claim replaces a lease that was lost

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Run one method of the queue; its own errors travel back to the caller."""
        result = getattr(self._queue, method)(*args, **kwargs)
        self._remember(method, args, result)
        return result

    def forfeit(self, worker: str, reason: str) -> None:
        """Give back all that a dead worker held, at once instead of when its lease expires.

        Only the supervisor calls this, after Ray reported the death. Were the worker alive after all, its
        token would be void and its commit refused.
        """
        for lease in [lease for lease in self._held.values() if lease.worker == worker]:
            del self._held[lease.part.part_id]
            with suppress(LeaseLost):
                self._queue.release(lease, reason, Cause.CRASH)

    def overdue(self, now: float) -> list[str]:
        """Workers that hold a part past its lease: their loop is stuck, for a live one renews."""
        return sorted({lease.worker for lease in self._held.values() if lease.expires_at < now})

    def _remember(self, method: str, args: Sequence[Any], result: Any) -> None:
        if method == "claim":
            self._held |= {lease.part.part_id: lease for lease in result}
        elif method == "renew":
            self._held[result.part.part_id] = result
        elif method in ("complete", "release", "bury", "split"):
            self._held.pop(args[0].part.part_id, None)


# A broker that dies is started again on the same queue: it forgets who holds what, and leases that end tell.
BrokerActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(Broker)


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
        self._call("close")


def _answered(call: Any) -> Any:
    try:
        return ray.get(call)
    except ActorUnavailableError as error:
        raise Unreachable("the process that owns the queue died and is being started again") from error
