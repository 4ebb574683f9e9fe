"""A part queue in a dictionary: the reference that the durable queues must agree with."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from autosteer_core.errors import LeaseLost
from autosteer_core.ports import Clock
from autosteer_core.values import Cause, Lease, Part, QueueCounts
from infra.part_conflict import conflicting_part


@dataclass(slots=True)
class _Entry:
    part: Part
    state: str = "ready"
    token: int = 0
    worker: str = ""
    expires_at: float = 0.0
    fail_count: int = 0
    crash_count: int = 0
    reason: str = ""


class MemoryQueue:
    """Forgets everything when the process ends; one thread at a time."""

    def __init__(self, clock: Clock, max_failures: int = 5) -> None:
        self._clock = clock
        self._max_failures = max_failures
        self._entries: dict[str, _Entry] = {}

    def add(self, parts: Sequence[Part]) -> int:
        before = len(self._entries)
        added = dict(self._entries)
        for part in parts:
            known = added.setdefault(part.part_id, _Entry(part)).part
            if known != part:
                raise conflicting_part(known, part)
        self._entries = added
        return len(added) - before

    def mark_done(self, part_ids: Sequence[str]) -> None:
        for part_id in part_ids:
            if part_id in self._entries:
                self._entries[part_id].state = "done"

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        now = self._clock.now()
        free = [entry for entry in self._entries.values() if _is_free(entry, now)]
        for entry in free[:limit]:
            entry.crash_count += entry.state == "leased"
            entry.state, entry.worker, entry.expires_at = "leased", worker, now + seconds
            entry.token += 1
        return [Lease(entry.part, entry.token, worker, now + seconds, entry.crash_count) for entry in free[:limit]]

    def renew(self, lease: Lease, seconds: float) -> Lease:
        entry = self._fenced(lease)
        entry.expires_at = self._clock.now() + seconds
        return replace(lease, expires_at=entry.expires_at)

    def complete(self, lease: Lease) -> None:
        self._fenced(lease).state = "done"

    def split(self, lease: Lease, halves: Sequence[Part]) -> None:
        entry = self._fenced(lease)
        self.add(halves)
        entry.state = "split"

    def release(self, lease: Lease, reason: str, cause: Cause) -> None:
        entry = self._fenced(lease)
        entry.fail_count += cause is Cause.FAILURE
        entry.crash_count += cause is Cause.CRASH
        entry.reason = reason
        given_up = cause is Cause.FAILURE and entry.fail_count >= self._max_failures
        entry.state = "buried" if given_up else "ready"

    def bury(self, lease: Lease, reason: str) -> None:
        entry = self._fenced(lease)
        entry.state, entry.reason = "buried", reason

    def claims(self, part_id: str) -> int:
        return self._entries[part_id].token

    def reopen(self, part_ids: Sequence[str] | None = None) -> int:
        found = [
            entry
            for part_id, entry in self._entries.items()
            if entry.state == "buried" and (part_ids is None or part_id in part_ids)
        ]
        for entry in found:
            entry.state, entry.fail_count, entry.crash_count = "ready", 0, 0
        return len(found)

    def buried(self) -> dict[Part, str]:
        return {entry.part: entry.reason for entry in self._entries.values() if entry.state == "buried"}

    def counts(self) -> QueueCounts:
        states = [entry.state for entry in self._entries.values()]
        return QueueCounts(*(states.count(state) for state in ("ready", "leased", "done", "buried", "split")))

    def forget(self) -> None:
        self._entries.clear()

    def close(self) -> None:
        """Nothing to let go of."""

    def together(self) -> AbstractContextManager[None]:
        """Each call is whole by itself, and nothing has to reach a disk."""
        return nullcontext()

    def _fenced(self, lease: Lease) -> _Entry:
        """The entry, if the lease still gives the right to change it."""
        entry = self._entries.get(lease.part.part_id)
        if entry is None:
            raise LeaseLost(f"part {lease.part.part_id} is not in this queue")
        if (entry.state, entry.token, entry.worker) != ("leased", lease.token, lease.worker):
            raise LeaseLost(
                f"lease {lease.token} of part {lease.part.part_id} is void: "
                f"the part is {entry.state} at lease {entry.token}"
            )
        return entry


def _is_free(entry: _Entry, now: float) -> bool:
    return entry.state == "ready" or (entry.state == "leased" and entry.expires_at <= now)
