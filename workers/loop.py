"""One worker's life: claim a part, judge its items, commit, complete."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from autosteer_core.commit import commit_part, is_committed
from autosteer_core.errors import LeaseLost, TryAgain
from autosteer_core.ports import BlobStore, ManifestReader, PartQueue
from autosteer_core.values import Item, Lease, Verdict
from workers.lifeline import Lifeline, Stopped

log = logging.getLogger(__name__)

Judge = Callable[[Sequence[Item]], list[Verdict]]
Encode = Callable[[Sequence[Verdict], Lease], bytes]


@dataclass(frozen=True, slots=True)
class PartWorker:
    """Everything one worker needs; `judge` answers or audits, `encode` makes the part file's bytes.

    `judge` sends its pulse through the lifeline and gets at most `chunk_rows` items at once.
    """

    name: str
    queue: PartQueue
    store: BlobStore
    manifest: ManifestReader
    judge: Judge
    encode: Encode
    lifeline: Lifeline
    chunk_rows: int

    def run(self, stopping: Callable[[], bool]) -> int:
        """Work until nothing can be claimed; returns how many parts this worker committed."""
        finished = 0
        while not stopping():
            leases = self.queue.claim(self.name, self.lifeline.seconds)
            if not leases:
                break
            finished += self._work_on(leases[0], stopping)
        return finished

    def _work_on(self, lease: Lease, stopping: Callable[[], bool]) -> int:
        try:
            self._finish(lease, stopping)
        except LeaseLost as lost:
            log.info("dropped part %s: %s", lease.part.part_id, lost)
            return 0
        except Stopped:
            self._give_back(lease, "worker stopped", failed=False)
            return 0
        except (TryAgain, OSError) as error:
            log.warning("part %s goes back to the queue: %s", lease.part.part_id, error)
            self._give_back(lease, str(error), failed=True)
            return 0
        return 1

    def _finish(self, lease: Lease, stopping: Callable[[], bool]) -> None:
        # Commit before completing: dying in between repeats the part, and the second commit is refused. The
        # other order could lose a part for good.
        if not is_committed(self.store, lease.part):
            verdicts = self._judged(lease, stopping)
            # Fails if the lease is lost: then another worker writes this part.
            lease = self.queue.renew(lease, self.lifeline.seconds)
            commit_part(self.store, lease, verdicts, self.encode(verdicts, lease))
        self.queue.complete(lease)

    def _judged(self, lease: Lease, stopping: Callable[[], bool]) -> list[Verdict]:
        items = self.manifest.items(lease.part)
        verdicts: list[Verdict] = []
        with self.lifeline.holding(lease, stopping):
            while chunk := list(islice(items, self.chunk_rows)):
                self.lifeline.pulse()
                verdicts += self.judge(chunk)
        return verdicts

    def _give_back(self, lease: Lease, reason: str, *, failed: bool) -> None:
        try:
            self.queue.release(lease, reason, failed=failed)
        except LeaseLost:
            log.info("part %s was already taken over", lease.part.part_id)
