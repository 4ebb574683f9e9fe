"""Promote a candidate while a run works, once the run has scored it on enough of its rows."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from autosteer_core.ports import BlobStore
from autosteer_core.records import read_records
from autosteer_core.registry import Registry, Stage
from autosteer_core.run import Run
from autosteer_core.values import BundleId, QueueCounts
from pipelines.candidate_watch import shadow_views

SHARE = 0.25  # of the rows, committed under the bundle that served before
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
    who: str
    rows_before: int | None = None
    seconds: float | None = None
    scored: dict[str, Any] = field(default_factory=dict)
    _promoted_at: float = 0.0

    def hear(self, run: Run, rows_done: int, counts: QueueCounts) -> None:
        """As `run_batch` tells it at every poll."""
        if self.rows_before is None and rows_done >= SHARE * run.rows:
            self._promote(run.run_id, rows_done)
        elif self.rows_before is not None and self.seconds is None and self._is_used():
            self.seconds = perf_counter() - self._promoted_at

    def _promote(self, run_id: str, rows_done: int) -> None:
        state = self.registry.state()
        if state.stages[self.candidate] in _NOT_YET:
            views = (view for view in shadow_views(self.views, self.candidate) if view["run_id"] == run_id)
            self.scored = next(views, {"rows": 0, "opened": 0, "closed": 0})
            rows, opened, closed = (self.scored[name] for name in ("rows", "opened", "closed"))
            reason = f"scored on {rows} rows: {opened} gates more, {closed} fewer"
            self.registry.promote(self.candidate, reason, self.who, expected=state.number)
        self.rows_before, self._promoted_at = rows_done, perf_counter()

    def _is_used(self) -> bool:
        return any(record.bundle_id == self.candidate for record in read_records(self.store).current)
