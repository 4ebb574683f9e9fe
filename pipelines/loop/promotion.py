"""Promote a candidate while a run works: scored beside what serves first, and watched afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from autosteer_core.bundle import Bundle
from autosteer_core.canary_guard import Counts, GuardLimits
from autosteer_core.ports import BlobStore
from autosteer_core.records import read_records
from autosteer_core.registry import Registry, Stage
from autosteer_core.run import Run
from autosteer_core.values import BundleId, QueueCounts
from pipelines.candidate_watch import CandidateWatch

SHARE = 0.25  # of the rows, committed under the bundle that served before
# A fifth of this traffic is harm of the new kind, on which the candidate is meant to open.
LIMITS = GuardLimits(opened=0.5)
_NOT_YET = frozenset({Stage.CANDIDATE, Stage.SHADOW, Stage.CANARY})


@dataclass(slots=True)
class MidwayPromotion:
    """Listens to a run's progress; `seconds` from the promotion to the first part that is committed under it.

    That time holds a part's whole generation: a worker has the bundle long before. A run that is continued after the
    promotion keeps it, and a candidate that the guard took back is not promoted again.
    """

    registry: Registry
    views: BlobStore
    store: BlobStore
    candidate: BundleId
    load: Callable[[BundleId], Bundle]
    who: str
    rows_before: int | None = None
    seconds: float | None = None
    scored: Counts = field(default_factory=Counts)
    _watch: CandidateWatch | None = None
    _promoted_at: float = 0.0

    def hear(self, run: Run, rows_done: int, counts: QueueCounts) -> None:
        """As `run_batch` tells it at every poll."""
        self._look(run.run_id)
        if self.rows_before is None and rows_done >= SHARE * run.rows:
            self._promote(rows_done)
        elif self.rows_before is not None and self.seconds is None and self._is_used():
            self.seconds = perf_counter() - self._promoted_at

    def _look(self, run_id: str) -> None:
        if self._watch is None:
            self._watch = CandidateWatch((self.store, run_id), self.registry, self.views, self.load, LIMITS)
        counts = self._watch.look()
        if counts is not None and self.rows_before is None:
            self.scored = counts

    def _promote(self, rows_done: int) -> None:
        state = self.registry.state()
        if state.stages[self.candidate] in _NOT_YET:
            reason = f"scored on {self.scored.rows} rows: {self.scored.opened} gates more, {self.scored.closed} fewer"
            self.registry.promote(self.candidate, reason, self.who, expected=state.number)
        self.rows_before, self._promoted_at = rows_done, perf_counter()

    def _is_used(self) -> bool:
        return any(record.bundle_id == self.candidate for record in read_records(self.store).current)
