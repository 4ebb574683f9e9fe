"""What the core asks of the outside world: a clock, a queue of parts, a store of bytes, a source of items."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from autosteer_core.cutting import Stretch
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Cause, Item, Lease, Part, QueueCounts


class Clock(Protocol):
    """Seconds since an arbitrary start; only differences mean anything."""

    def now(self) -> float: ...


class PartQueue(Protocol):
    """A durable queue with leases. Every write after `claim` is fenced by the lease token."""

    def add(self, parts: Sequence[Part]) -> int:
        """Add the parts that are not yet known and return how many; adding again is harmless."""
        ...

    def mark_done(self, part_ids: Sequence[str]) -> None:
        """Record parts whose commit already exists, whatever their state; used to rebuild a lost queue."""
        ...

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        """Lease up to `limit` parts that are ready or whose lease expired, oldest first, in one transaction.

        A lease that expired counts as a crash of its part: its worker died or stands still.
        """
        ...

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """Extend the lease from now; raises LeaseLost if the part was claimed again or is finished."""
        ...

    def complete(self, lease: Lease) -> None:
        """Finish the part for good; raises LeaseLost if the lease is void."""
        ...

    def split(self, lease: Lease, halves: Sequence[Part]) -> None:
        """Put the halves in the part's place, in one transaction; halves that are known stay. Raises LeaseLost."""
        ...

    def release(self, lease: Lease, reason: str, cause: Cause) -> None:
        """Give the part back; failures count towards burying, crashes are counted apart. Raises LeaseLost."""
        ...

    def bury(self, lease: Lease, reason: str) -> None:
        """Set the part aside with its reason: it is never claimed again. Raises LeaseLost."""
        ...

    def reopen(self, part_ids: Sequence[str] | None = None) -> int:
        """Make parts that were set aside ready again, None all of them, with nothing counted; returns how many."""
        ...

    def buried(self) -> dict[Part, str]:
        """Every part that is set aside, oldest first, with the reason."""
        ...

    def claims(self, part_id: str) -> int:
        """How many times the part has been claimed so far."""
        ...

    def counts(self) -> QueueCounts:
        """Parts by state, all read at one instant."""
        ...

    def close(self) -> None:
        """Let go of files and connections; safe to call twice."""
        ...


class GroupedQueue(PartQueue, Protocol):
    """A queue whose calls can share a transaction, and so one way to the disk."""

    def together(self) -> AbstractContextManager[None]:
        """All calls inside are kept, or none; inside another, those of a block that raises are undone alone."""
        ...

    def forget(self) -> None:
        """Drop every part, for a run whose output is sealed; whoever still holds a lease finds it void."""
        ...


class BlobStore(Protocol):
    """Named bytes. A key is a relative path with `/`; a blob is visible whole or not at all."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the bytes unless the key exists; False if it does. Durable once it returns."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace, whole: for views that can be made again (report, summary), never for results."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes; KeyError if there are none."""
        ...

    def first_bytes(self, key: str, most: int) -> bytes:
        """At most so many bytes from the start, however long the blob is; KeyError if there is none."""
        ...

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with the string `prefix`, in order."""
        ...

    def delete(self, key: str) -> None:
        """Remove the key; no error if it is gone already."""
        ...

    def age(self, key: str) -> float:
        """Seconds since the key was written, by the store's own clock; KeyError if there is none."""
        ...

    def sweep(self, older_than: float) -> int:
        """Remove what writes that never ended left behind so many seconds ago or earlier; returns how many."""
        ...

    def describe(self) -> str:
        """Where the bytes live, for a person: a folder or an s3:// address."""
        ...


class ManifestReader(Protocol):
    """A table of items, fixed once planned; no reader keeps more than a byte of memory a row."""

    def files(self) -> Sequence[tuple[str, int, str]]:
        """(file name, number of rows, SHA-256 of the contents) for every file, in order."""
        ...

    def row_ids(self) -> RowIds:
        """The sum over all rows of where they are and which id their item has, for the seal to compare with."""
        ...

    def stretches(self, name: str) -> Iterable[Stretch]:
        """What the rows of a file are estimated to cost, in order: for cutting it into parts."""
        ...

    def items(self, part: Part) -> Iterator[Item]:
        """The part's items in row order; a row that cannot be read comes back as an item with a flaw."""
        ...
