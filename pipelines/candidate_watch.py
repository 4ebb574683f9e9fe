"""A candidate reads every row beside the bundle that serves, and goes by itself where it does harm.

Nothing is computed by the model: both read the kept activations of each part that is committed. That goes on after
the promotion, against the bundle that served before, until another change of the registry.
"""

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from autosteer_core.audit_log import Deed
from autosteer_core.bundle import Bundle
from autosteer_core.bundle_reading import admit
from autosteer_core.canary_guard import Counts, GuardLimits, breach
from autosteer_core.errors import Unreachable, UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, NotConserved, RedoRecord, new_records
from autosteer_core.registry import Registry, State
from autosteer_core.values import BundleId
from infra.open_store import open_store
from pipelines.registry_files import open_registry
from pipelines.reread_part import reread
from pipelines.settings import Settings
from pipelines.signing import trust_of

SHADOW = "shadow/"
GUARD = "guard"  # who it is, in the registry's log
_PARTS_A_LOOK = 16  # so that whoever looks between other duties is back soon

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tried:
    """A bundle, the one that it is measured against, and whether it serves already or some parts of the run do."""

    candidate: BundleId
    reference: BundleId
    serves: bool
    canary: float


def tried(state: State) -> Tried | None:
    """What is to be watched: the candidate that is scored, or else the bundle that was promoted last."""
    if state.shadow and state.serving:
        return Tried(state.shadow, state.serving, False, state.canary)
    moves = [move for move in state.moves() if move.deed in (Deed.BUNDLE_PROMOTED, Deed.ROLLED_BACK)]
    if not moves or moves[-1].deed != Deed.BUNDLE_PROMOTED or moves[-1].replaced is None:
        return None
    return Tried(moves[-1].bundle_id, moves[-1].replaced, True, 0.0)


class CandidateWatch:
    """Over one run, in the process that drives it; `views` is the registry's store, `load` reads one of its bundles.

    A watch that begins anew counts every part of the run again: it remembers nothing that the run does not hold.
    """

    def __init__(
        self,
        run: tuple[BlobStore, str],
        registry: Registry,
        views: BlobStore,
        load: Callable[[BundleId], Bundle],
        limits: GuardLimits,
    ) -> None:
        self._store, self._run_id = run
        self._registry, self._views, self._load, self._limits = registry, views, load, limits
        self._seen: set[str] = set()
        self._replaced: set[str] = set()
        self._records: list[CommitRecord] = []
        self._bundles: list[Bundle] = []
        self._begin(None)

    def look(self) -> Counts | None:
        """Score what was committed since; None where nothing is tried. What a store does not say now, it says later.

        Raises:
            UserMistake: E_AUDIT_LOG, the registry's log is not as it was written.
        """
        try:
            state = self._registry.state()
            what = tried(state)
            if what is None or self._pair != (what.candidate, what.reference):
                self._begin(what)
            if what is None or self._pair is None:
                return None
            self._read_records()
            before = self._counts
            for _ in range(min(_PARTS_A_LOOK, len(self._waiting))):
                self._counts += self._scored(self._waiting.popleft())
            reason = breach(self._counts, self._limits)
            if self._counts != before:
                self._show(what, reason)
            if reason is not None:
                self._act(what, state, f"stopped by the guard: {reason}")
        except Unreachable as error:
            log.warning("the candidate is not watched for a while: %s", error)
        return self._counts

    def finish(self) -> Counts | None:
        """Look until every part that is committed was scored."""
        counts, left = self.look(), -1
        while self.behind and self.behind != left:  # no store that is silent is waited for
            left = self.behind
            counts = self.look()
        return counts

    @property
    def behind(self) -> int:
        """Parts that are committed and not scored yet."""
        return len(self._waiting)

    def _begin(self, what: Tried | None) -> None:
        self._pair: tuple[BundleId, BundleId] | None = None
        self._counts, self._unfit = Counts(), 0
        self._waiting: deque[CommitRecord] = deque(self._records if what else ())
        if what is None:
            return
        try:
            self._bundles = [self._load(what.candidate), self._load(what.reference)]
            self._pair = (what.candidate, what.reference)
        except UserMistake as error:  # the run does not depend on it, and the next look tries again
            log.warning("bundle %s is not watched: %s", what.candidate, error)

    def _read_records(self) -> None:
        for record in new_records(self._store, self._seen):
            if isinstance(record, RedoRecord):
                self._replaced.add(record.part_id)
            elif isinstance(record, CommitRecord) and record.part_id not in self._replaced:
                self._records.append(record)
                self._waiting.append(record)

    def _scored(self, record: CommitRecord) -> Counts:
        assert self._pair is not None
        try:
            new, old = (reread(self._store, record, bundle) for bundle in self._bundles)
        except (UserMistake, NotConserved) as error:
            # Other sites, or another model: only the model could read these rows for it. Damage is for `verify`.
            log.warning("part %s is not read by the candidate: %s", record.part_id, error)
            self._unfit += record.rows
            return Counts()
        if new is None or old is None:
            return Counts()
        own = record.bundle_id == self._pair[0]
        return Counts(
            rows=len(new.gate_N),
            opened=int((new.gate_N & ~old.gate_N).sum()),
            closed=int((~new.gate_N & old.gate_N).sum()),
            no_number=int((~np.isfinite(new.risk_N) & np.isfinite(old.risk_N)).sum()),
            decided=record.rows if own else 0,
            failed=int(new.gates.failed_N.sum()) if own else 0,
        )

    def _show(self, what: Tried, reason: str | None) -> None:
        view = {
            "candidate": what.candidate,
            "reference": what.reference,
            "run_id": self._run_id,
            **asdict(self._counts),
            "unfit": self._unfit,
            "behind": self.behind,
            "breach": reason,
        }
        self._views.put(f"{SHADOW}{what.candidate}/{self._run_id}.json", json.dumps(view, indent=1).encode())

    def _act(self, what: Tried, state: State, reason: str) -> None:
        """End what lets it decide rows; one that is only scored goes on to be: whoever promotes it is told."""
        try:
            if what.serves:
                self._registry.roll_back(reason, GUARD, to=what.reference, expected=state.number)
            elif what.canary:
                self._registry.canary(what.candidate, 0.0, reason, GUARD, expected=state.number)
        except UserMistake as error:
            # Another change came first, or there is nothing to go back to: the next look sees what is so by then.
            log.warning("bundle %s is not stopped: %s", what.candidate, error)


def guarded_run(store: BlobStore, run_id: str, address: str, settings: Settings) -> CandidateWatch:
    """A watch over a run that follows the registry at the address, with the limits of the settings."""
    registry, trust = open_registry(address), trust_of(settings)
    limits = GuardLimits(opened=settings.guard_opened, closed=settings.guard_closed)

    def load(bundle_id: BundleId) -> Bundle:
        return admit(registry.files(bundle_id), trust).bundle

    return CandidateWatch((store, run_id), registry, open_store(address), load, limits)


def shadow_views(views: BlobStore, candidate: BundleId) -> list[dict[str, object]]:
    """What was counted of the candidate, run by run."""
    return [json.loads(views.get(key)) for key in views.keys(f"{SHADOW}{candidate}/")]
