"""One worker's life: claim parts, judge their items in one stream, commit and complete each part once it is whole."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from autosteer_core.commit import commit_part, split_part
from autosteer_core.errors import LeaseLost, TryAgain, Unreachable
from autosteer_core.ports import BlobStore, ManifestReader, PartQueue
from autosteer_core.records import CommitRecord, SplitRecord, fate
from autosteer_core.values import BundleId, Cause, Item, Lease, Verdict
from workers.isolation import is_poison, is_suspect, poisoned
from workers.lifeline import Lifeline, Stopped
from workers.open_parts import OpenPart, OpenParts
from workers.patience import Patience
from workers.writes import MOST_BEHIND, AtOnce, Write

log = logging.getLogger(__name__)

Judge = Callable[[Iterable[Item]], Iterator[tuple[int, Verdict]]]
Encode = Callable[[Sequence[Verdict], Lease], bytes]
Keep = Callable[[Sequence[Verdict], Lease], bytes | None]


class Pins(Protocol):
    """Which bundle judges a part, from its claim to its end."""

    def pin(self, lease: Lease) -> BundleId | None:
        """The bundle that the part is of from now on; None where the run is pinned as a whole."""
        ...

    def let_go(self, lease: Lease) -> None:
        """No row of the part is to be judged any more; safe to repeat."""
        ...


class PinnedRun:
    """One bundle for the whole run: no part needs one of its own."""

    def pin(self, lease: Lease) -> None:
        """As Pins asks."""

    def let_go(self, lease: Lease) -> None:
        """As Pins asks."""


def nothing(verdicts: Sequence[Verdict], lease: Lease) -> None:
    """Keeps no activations."""


@dataclass(slots=True)
class _Shift:
    """What one call of `run` has in hand: the parts of its stream, those being written, a claimed one not begun.

    `pinned` are the leases that hold a bundle: rows of a part that was lost are in work until its stream ends.
    """

    parts: OpenParts = field(default_factory=OpenParts)
    writes: deque[Write] = field(default_factory=deque)
    waiting: Lease | None = None
    finished: int = 0
    pinned: list[Lease] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PartWorker:
    """Everything one worker needs; `judge` answers or audits, `encode` makes the part file's bytes, and `keep` those
    of the activations beside it.

    `judge` gives the verdicts of a stream of items as they finish, each with its item's place, and sends its pulse
    through the lifeline. It draws items in the thread that it is called in: drawing one may claim a part. At most
    `most_parts` are in work at once, and few more are being written: a worker that dies loses no more than these.
    Only `writer` is another thread, and only to encode and commit: the queue is spoken to from one. `pins` gives
    every part that is claimed its bundle.
    """

    name: str
    queue: PartQueue
    store: BlobStore
    manifest: ManifestReader
    judge: Judge
    encode: Encode
    lifeline: Lifeline
    patience: Patience
    most_parts: int
    writer: Executor = field(default_factory=AtOnce)
    keep: Keep = nothing
    pins: Pins = field(default_factory=PinnedRun)

    def run(self, stopping: Callable[[], bool]) -> int:
        """Work until nothing can be claimed; returns how many parts this worker committed."""
        shift = _Shift()
        with self.lifeline.heeding(stopping):
            try:
                while not stopping() and self._has_next(shift):
                    self._stream(shift)
            except Stopped:
                log.info("%s stops while it waits", self.name)
            finally:
                # Also where an error ends the worker: the repeated command need not wait for the leases to expire.
                self._give_all_back(shift, "worker stopped", Cause.SHUTDOWN)
                self._unpin(shift)
        return shift.finished

    def _stream(self, shift: _Shift) -> None:
        shift.parts = OpenParts()
        try:
            for place, verdict in self.judge(self._items(shift)):
                part = shift.parts.take(place, verdict)
                if part is not None:
                    self._finish(part, shift)
                self._settle(shift, MOST_BEHIND)
            shift.parts.require_none(self.lifeline.holds)
            self._settle(shift, 0)
        except LeaseLost as lost:
            log.info("a stream ends early: %s", lost)
            shift.waiting = None
        except Stopped:
            self._give_all_back(shift, "worker stopped", Cause.SHUTDOWN)
        except Unreachable as error:
            self._give_all_back(shift, str(error), Cause.SHUTDOWN)
            self.patience.rest(error)
        except (TryAgain, OSError) as error:
            log.warning("%d parts go back to the queue: %s", len(shift.parts), error)
            # Beside others none is known to be at fault: each runs alone next time, and then its failure counts.
            self._give_all_back(shift, str(error), Cause.FAILURE if len(shift.parts) == 1 else Cause.SHUTDOWN)
        finally:
            self._unpin(shift)

    def _items(self, shift: _Shift) -> Iterator[Item]:
        """The items of one part after another; the next part is claimed when the judge asks for more."""
        while lease := self._next(shift):
            for item in shift.parts.begin(lease, self._items_of(lease), self.lifeline.holds):
                self.lifeline.pulse()
                yield item
            if _runs_alone(lease):
                return

    def _items_of(self, lease: Lease) -> Iterator[Item]:
        """The part's items under its bundle."""
        items = self.manifest.items(lease.part)
        return items if lease.under is None else (replace(item, under=lease.under) for item in items)

    def _next(self, shift: _Shift) -> Lease | None:
        """A part to begin beside those in work; None ends the stream."""
        shift.parts.drop(self.lifeline.holds)
        if len(shift.parts) >= self.most_parts or not self._has_next(shift):
            return None
        lease = shift.waiting
        if lease and len(shift.parts) and _runs_alone(lease):
            return None
        shift.waiting = None
        return lease

    def _has_next(self, shift: _Shift) -> bool:
        """Whether a part waits or could be claimed; what needs no judging is settled at once."""
        while shift.waiting is None and (lease := self._claimed(shift)):
            with self._only(lease):
                if self._settled(lease, shift):
                    continue
                shift.waiting = lease
            break  # also where the store could not say: not every part shall pay for that at once
        return shift.waiting is not None

    def _claimed(self, shift: _Shift) -> Lease | None:
        leases = self.patience.through(lambda: self.queue.claim(self.name, self.lifeline.seconds))
        if not leases:
            return None
        lease = replace(leases[0], under=self.pins.pin(leases[0]))
        shift.pinned.append(lease)
        self.lifeline.hold(lease)
        return lease

    def _unpin(self, shift: _Shift) -> None:
        """After the stream has ended: of what it began, nothing is judged any more, but some is being written."""
        needed = [*(write.lease for write in shift.writes), shift.waiting]
        for lease in shift.pinned:
            if lease not in needed:
                self.pins.let_go(lease)
        shift.pinned = [lease for lease in shift.pinned if lease in needed]

    def _settled(self, lease: Lease, shift: _Shift) -> bool:
        """Whether there is nothing to judge: the part's fate is known, or its crashes decide it."""
        known = self.patience.through(lambda: fate(self.store, lease.part))
        if isinstance(known, CommitRecord):
            self._complete(lease, shift)
        elif isinstance(known, SplitRecord) or is_suspect(lease):
            self._split(lease)
        elif is_poison(lease):
            log.error("part %s is one row that kills its workers: it is set aside", lease.part.part_id)
            verdicts = [replace(poisoned(item, lease), under=lease.under) for item in self._items_of(lease)]
            self._renew(lease)
            self._decide(lease, self.patience.through(lambda: self._commit(lease, verdicts)), shift)
        else:
            return False
        return True

    def _split(self, lease: Lease) -> None:
        """The store decides, then the queue hears of it: a zombie with the whole part finds its slot taken."""
        log.warning("part %s was with a worker that died: it is halved", lease.part.part_id)
        halves = self.patience.through(lambda: split_part(self.store, lease, "its worker died"))
        self.patience.through(lambda: self.queue.split(lease, halves))
        self.lifeline.let_go(lease)

    def _finish(self, part: OpenPart, shift: _Shift) -> None:
        """Commit before completing: dying in between repeats the part, and the second commit is refused.

        The other order could lose a part for good.
        """
        lease, verdicts = part.lease, part.in_order()
        with self._only(lease):
            self._renew(lease)
            shift.writes.append(Write(lease, verdicts, self.writer.submit(self._commit, lease, verdicts)))

    def _renew(self, lease: Lease) -> None:
        """Before writing; fails if the lease is lost: then another worker writes this part."""
        self.patience.through(lambda: self.queue.renew(lease, self.lifeline.seconds))

    def _commit(self, lease: Lease, verdicts: Sequence[Verdict]) -> bool:
        data, kept = self.encode(verdicts, lease), self.keep(verdicts, lease)
        return commit_part(self.store, lease, verdicts, data, kept)

    def _settle(self, shift: _Shift, most: int) -> None:
        """Complete what is written, in order; wait where more than `most` parts are behind the model."""
        while shift.writes and (len(shift.writes) > most or shift.writes[0].outcome.done()):
            write = shift.writes.popleft()
            with self._only(write.lease):
                self._decide(write.lease, self._outcome(write), shift)

    def _outcome(self, write: Write) -> bool:
        write.wait(self.lifeline.pulse)
        try:
            return write.outcome.result()
        except Unreachable:
            # Nothing can be written: the model waits as well.
            return self.patience.through(lambda: self._commit(write.lease, write.verdicts))

    def _decide(self, lease: Lease, won: bool, shift: _Shift) -> None:
        # A worker of a queue that was lost may have decided the part meanwhile, and may have halved it.
        if not won and isinstance(self.patience.through(lambda: fate(self.store, lease.part)), SplitRecord):
            self._split(lease)
        else:
            self._complete(lease, shift)

    def _complete(self, lease: Lease, shift: _Shift) -> None:
        self.patience.through(lambda: self.queue.complete(lease))
        self.lifeline.let_go(lease)
        shift.finished += 1
        # Not before: what was read of its rows is encoded by what the bundle says of its sites.
        shift.pinned = [each for each in shift.pinned if each != lease]
        self.pins.let_go(lease)

    @contextmanager
    def _only(self, lease: Lease) -> Iterator[None]:
        """What goes wrong inside costs this part, not those beside it."""
        try:
            yield
        except LeaseLost as lost:
            log.info("dropped part %s: %s", lease.part.part_id, lost)
            self.lifeline.let_go(lease)
        except Stopped:
            self._give_back(lease, "worker stopped", Cause.SHUTDOWN)
            raise
        except (TryAgain, OSError) as error:
            log.warning("part %s goes back to the queue: %s", lease.part.part_id, error)
            self._give_back(lease, str(error), Cause.FAILURE)

    def _give_all_back(self, shift: _Shift, reason: str, cause: Cause) -> None:
        for lease in shift.parts.leases():
            self._give_back(lease, reason, cause)
        if shift.waiting:
            self._give_back(shift.waiting, reason, Cause.SHUTDOWN)
        shift.parts, shift.waiting = OpenParts(), None
        while shift.writes:
            write = shift.writes.popleft()
            with suppress(Stopped), self._only(write.lease):
                self._decide(write.lease, write.outcome.result(), shift)

    def _give_back(self, lease: Lease, reason: str, cause: Cause) -> None:
        self.lifeline.let_go(lease)
        try:
            self.queue.release(lease, reason, cause)
        except LeaseLost:
            log.info("part %s was already taken over", lease.part.part_id)
        except Unreachable as error:
            log.warning("part %s is free when its lease ends: %s", lease.part.part_id, error)


def _runs_alone(lease: Lease) -> bool:
    """A part that came back to the queue: whatever broke its stream shall break no part beside it again."""
    return lease.token > 1 or lease.part.halvings > 0
