"""What a finished run did, as plain values: for the terminal, for --json and for the report."""

from dataclasses import asdict, dataclass
from typing import Any

from autosteer_core.evaluation import GroupOutcome, Rate
from autosteer_core.values import Label, Verdict
from pipelines.batch_run import Finished
from pipelines.tally import Tally

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
    """Counts add up to the manifest's rows; rates need labels. `histogram` has rows per risk bin by label."""

    finished: Finished
    actions: dict[str, int]
    errors: dict[str, int]
    outcomes: list[GroupOutcome]
    flags: list[tuple[str, Label, Rate]]
    degenerate: int
    judges_disagree: int
    borderline: int
    beside: list[Beside]
    histogram: list[tuple[str, list[int]]]
    examples: list[Verdict]

    def as_json(self) -> dict[str, Any]:
        """Stable keys for machines."""
        return {
            "run_id": self.finished.run.run_id,
            "kind": self.finished.run.kind,
            "rows": self.finished.run.rows,
            "out": self.finished.store.describe(),
            "resumed": self.finished.resumed,
            "audit_head": str(self.finished.head),
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
    """Count and rate the rows of a sealed run, each of which is read once."""
    tally = Tally()
    for row in finished.verdicts:
        tally.add(row)
    audited = finished.run.kind == "audit"
    return Summary(
        finished=finished,
        actions=dict.fromkeys(KINDS[finished.run.kind], 0) | dict(sorted(tally.actions.items())),
        errors=dict(sorted(tally.errors.items())),
        outcomes=[] if audited else tally.outcomes.lines(),
        flags=tally.flags.lines() if audited else [],
        degenerate=tally.degenerate,
        judges_disagree=tally.judges_disagree,
        borderline=tally.borderline,
        beside=[
            Beside(name, pairs[False, True] + pairs[True, True], pairs[True, False], pairs[False, True])
            for name, pairs in sorted(tally.beside.items())
        ],
        histogram=sorted(tally.histogram.items()),
        examples=tally.examples,
    )


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
