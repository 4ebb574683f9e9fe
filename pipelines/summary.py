"""What a finished run did, as plain values: for the terminal, for --json and for the report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autosteer_core.evaluation import GroupOutcome, Rate, flag_rates, outcomes
from autosteer_core.judges import is_degenerate, opens_with_refusal
from autosteer_core.values import Action, Label, Verdict
from pipelines.batch_run import Finished

KINDS = {"generate": ("answer", "refuse", "review", "error"), "audit": ("allow", "flag", "review", "error")}


@dataclass(frozen=True, slots=True)
class Beside:
    """What another bundle would flag of the same rows, and how many of its decisions differ."""

    name: str
    flagged: int
    only_here: int
    only_there: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts add up to the manifest's rows; rates need labels."""

    finished: Finished
    actions: dict[str, int]
    errors: dict[str, int]
    outcomes: list[GroupOutcome]
    flags: list[tuple[str, Label, Rate]]
    degenerate: int
    judges_disagree: int
    borderline: int
    beside: list[Beside]

    def as_json(self) -> dict[str, Any]:
        """Stable keys for machines."""
        return {
            "run_id": self.finished.run.run_id,
            "kind": self.finished.run.kind,
            "rows": self.finished.run.rows,
            "out": self.finished.store.describe(),
            "resumed": self.finished.resumed,
            "bundle_id": self.finished.run.bundle_id,
            "actions": self.actions,
            "errors": self.errors,
            "borderline": self.borderline,
            "degenerate_answers": self.degenerate,
            "refusal_judges_disagree": self.judges_disagree,
            "outcomes": [_outcome_json(outcome) for outcome in self.outcomes],
            "flagged": [_flag_json(*flag) for flag in self.flags],
            "beside": [asdict(other) for other in self.beside],
        }


def summarise(finished: Finished) -> Summary:
    """Count and rate the rows of a sealed run."""
    rows = finished.verdicts
    audited = finished.run.kind == "audit"
    return Summary(
        finished=finished,
        actions=dict.fromkeys(KINDS[finished.run.kind], 0) | _counted(str(row.action) for row in rows),
        errors=_counted(row.flaw.code for row in rows if row.flaw is not None),
        outcomes=[] if audited else outcomes(rows),
        flags=flag_rates(rows) if audited else [],
        degenerate=sum(row.answer is not None and is_degenerate(row.answer) for row in rows),
        judges_disagree=sum(_disagree(row) for row in rows),
        borderline=sum(row.borderline for row in rows),
        beside=[_beside(name, rows) for name in sorted({name for row in rows for name in row.beside})],
    )


def _beside(name: str, rows: Sequence[Verdict]) -> Beside:
    pairs = [(row.action is Action.FLAG, row.beside[name].gate_open) for row in rows if name in row.beside]
    there = sum(other for _, other in pairs)
    return Beside(name, there, pairs.count((True, False)), pairs.count((False, True)))


def _counted(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _disagree(row: Verdict) -> bool:
    """The gate refused but the text does not read like it, or the other way round."""
    return row.answer is not None and (row.action is Action.REFUSE) is not opens_with_refusal(row.answer)


def _outcome_json(outcome: GroupOutcome) -> dict[str, Any]:
    measure = "attack_success" if outcome.label is Label.HARMFUL else "false_refusals"
    rates = {name: getattr(outcome, name) for name in ("unsteered", "always", "gated")}
    return {"group": outcome.group, "label": str(outcome.label), "measure": measure} | {
        name: _rate_json(rate) for name, rate in rates.items()
    }


def _flag_json(group: str, label: Label, rate: Rate) -> dict[str, Any]:
    return {"group": group, "label": str(label), "flagged": _rate_json(rate)}


def _rate_json(rate: Rate) -> dict[str, Any]:
    return {"events": rate.events, "trials": rate.trials, "interval": list(rate.interval)}
