"""From a run's rows to its review table: open gates, close calls, judges that disagree, and what was never seen."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.drift import Drift, Usual, psi, two_sample
from autosteer_core.flagging import Flagged, Reason, reasons_of
from autosteer_core.ports import BlobStore, ManifestReader
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from autosteer_core.values import Activation
from infra.activation_files import activations_from_parquet, as_array, origin_of
from infra.open_store import open_store
from infra.review_files import ReviewTable
from infra.verdict_rows import rows_from_parquet
from pipelines.answer_judges import AnswerJudge, answered
from pipelines.drift_reference import Reference
from pipelines.flagged_items import put_review_table, require_activations
from pipelines.run_items import absolute, items_of_run
from pipelines.settings import Settings

DRIFT = "drift/"
_SAMPLED = 4000  # rows of a run that are compared with the reference
Progress = Callable[[int, int], None]
Row = Mapping[str, Any]
Kept = Mapping[int, Activation]


@dataclass(frozen=True, slots=True)
class FlagRequest:
    """`reference` is what the run is compared with for drift, None: with nothing. `manifest` is where it was moved.

    A risk is borderline where its log odds are within `band` of the threshold's.
    """

    out: str
    registry: str
    settings: Settings
    judges: Sequence[AnswerJudge] = ()
    reference: Reference | None = None
    manifest: str | None = None
    band: float = 0.5


@dataclass(frozen=True, slots=True)
class FlaggedRun:
    """Rows that were read, those that are flagged, how often for each reason, and the drift where it was measured."""

    run_id: str
    rows: int
    flagged: int
    reasons: Mapping[str, int]
    drift: Drift | None

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        named = {name: getattr(self, name) for name in ("run_id", "rows", "flagged", "reasons")}
        return named | {"drift": self.drift.as_json() if self.drift else None}


def flag_run(request: FlagRequest, progress: Progress = lambda done, of: None) -> FlaggedRun:
    """Write the review table of the run at `out` into the registry, and its drift; safe to repeat, and while it runs.

    Raises:
        UserMistake: no run there, it kept no activations, or its manifest is needed for a judge and is gone.
        NotConserved: a part is gone or was changed after its commit.
    """
    store, registry = open_store(request.out), open_store(request.registry)
    run = read_record(store)
    records = sorted(read_records(store).current, key=lambda record: (record.source, record.start))
    require_activations(request.out, records)
    look = _Look(request, run, max(1, sum(record.rows for record in records) // _SAMPLED))
    for done, record in enumerate(records):
        progress(done, len(records))
        look.at(store, record)
    drift = look.drift()
    rows = tuple(look.flagged(drift))
    run_id = str(run["run_id"])
    manifest = request.manifest or absolute(str(run["manifest"]))
    put_review_table(registry, ReviewTable(run_id, absolute(request.out), manifest, rows))
    if drift is not None:
        registry.put(f"{DRIFT}{run_id}.json", json.dumps(drift.as_json(), indent=1).encode())
    counts = Counter(reason for row in rows for reason in row.reasons)
    return FlaggedRun(run_id, look.rows, len(rows), {reason.value: counts[reason] for reason in Reason}, drift)


def drifts(registry: BlobStore) -> dict[str, dict[str, Any]]:
    """Run id -> its drift as it was measured last, with `alarm`: what a retraining may wait for."""
    found = {}
    for key in registry.keys(DRIFT):
        told = json.loads(registry.get(key))
        found[str(told["run_id"])] = told
    return found


@dataclass(slots=True)
class _Look:
    """One pass over the rows; every `stride`th row is compared with the reference."""

    request: FlagRequest
    run: Mapping[str, Any]
    stride: int
    rows: int = 0
    _flagged: list[Flagged] = field(default_factory=list)
    _risks: list[float] = field(default_factory=list)
    _sample: list[Activation] = field(default_factory=list)
    _usual: Usual | None = None
    _items: ManifestReader | None = None

    def __post_init__(self) -> None:
        if self.request.reference is not None:
            self._usual = Usual.of(self.request.reference.activation_ND, self.request.settings.seed)
        if any(judge.reads_prompt for judge in self.request.judges):
            self._items = items_of_run(self.run, self.request.settings, self.request.manifest)

    def at(self, store: BlobStore, record: CommitRecord) -> None:
        """Take in the rows of a part that a probe has read."""
        data = read_activations_of(store, record)
        if data is None:
            return
        kept = activations_from_parquet(data)
        if self.request.reference is not None:
            self.request.reference.require(origin_of(data), self.request.out)
        rows = [row for row in rows_from_parquet(read_part(store, record)) if row["row"] in kept]
        judges, distances = self._judged(record, rows), self._distances(rows, kept)
        for row in rows:
            self._take(record, row, kept[row["row"]], judges.get(row["row"], ()), distances.get(row["row"]))

    def _take(
        self, record: CommitRecord, row: Row, kept: Activation, judges: tuple[str, ...], far: float | None
    ) -> None:
        risk = math.nan if row["risk"] is None else row["risk"]
        if self.rows % self.stride == 0:
            self._sample.append(kept)
            self._risks.append(risk)
        self.rows += 1
        flagged = Flagged(
            kept.content, row["item_id"], record.source, row["row"], row["action"], risk, row["threshold"],
            row["bundle_id"], (), judges, far,
        )  # fmt: skip
        reasons = reasons_of(flagged, gate_open=row["gate_open"] is True, band=self.request.band)
        if reasons:
            self._flagged.append(replace(flagged, reasons=reasons))

    def _judged(self, record: CommitRecord, rows: Sequence[Row]) -> dict[int, tuple[str, ...]]:
        """Row -> the judges that disagree with its gate."""
        found = answered(rows, self._items, record) if self.request.judges else {}
        said = {judge.name: judge.disagrees(list(found.values())) for judge in self.request.judges}
        return {
            row: tuple(name for name, disagrees in said.items() if disagrees[place])
            for place, row in enumerate(found)
        }

    def _distances(self, rows: Sequence[Row], kept: Kept) -> dict[int, float]:
        if self._usual is None or not rows:
            return {}
        far_N = self._usual(as_array(kept[row["row"]] for row in rows)) / (self._usual.limit or 1.0)
        return {row["row"]: float(far) for row, far in zip(rows, far_N, strict=True)}

    def drift(self) -> Drift | None:
        """Of what was taken in so far."""
        reference = self.request.reference
        if reference is None or not self._sample:
            return None
        statistic, p = two_sample(reference.activation_ND, as_array(self._sample), self.request.settings.seed)
        risks = psi(reference.risk_N, np.array(self._risks))
        unlike = sum(Reason.DRIFT in row.reasons for row in self._flagged)
        return Drift(
            str(self.run["run_id"]), risks, statistic, p, self.rows, len(reference.risk_N), unlike, reference.name
        )

    def flagged(self, drift: Drift | None) -> Iterator[Flagged]:
        """Without the one row in a hundred that is rare in any run, unless the run as a whole has drifted."""
        for row in self._flagged:
            reasons = tuple(reason for reason in row.reasons if reason is not Reason.DRIFT or (drift and drift.alarm))
            if reasons:
                yield replace(row, reasons=reasons)
