"""What the end of a run counts, in one pass over rows that need not fit in memory."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf, isfinite

from autosteer_core.evaluation import Flags, Outcomes
from autosteer_core.judges import is_degenerate, opens_with_refusal
from autosteer_core.values import Action, Verdict

BARS = 20
EXAMPLES = 40


@dataclass(slots=True)
class Tally:
    """Add every row once, in manifest order."""

    actions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    outcomes: Outcomes = field(default_factory=Outcomes)
    flags: Flags = field(default_factory=Flags)
    degenerate: int = 0
    judges_disagree: int = 0
    borderline: int = 0
    beside: dict[str, Counter[tuple[bool, bool]]] = field(default_factory=lambda: defaultdict(Counter))
    histogram: dict[str, list[int]] = field(default_factory=dict)
    _broken: list[Verdict] = field(default_factory=list)
    _near: list[Verdict] = field(default_factory=list)

    def add(self, row: Verdict) -> None:
        """One more row."""
        self.actions[str(row.action)] += 1
        self.outcomes.add(row)
        self.flags.add(row)
        self.borderline += row.borderline
        if row.answer is not None:
            self.degenerate += is_degenerate(row.answer)
            # The gate refused but the text does not read like it, or the other way round.
            self.judges_disagree += (row.action is Action.REFUSE) is not opens_with_refusal(row.answer)
        for name, other in row.beside.items():
            self.beside[name][row.action is Action.FLAG, other.gate_open] += 1
        if isfinite(row.risk):
            bars = self.histogram.setdefault(str(row.annotation.label or "unlabelled"), [0] * BARS)
            bars[min(int(row.risk * BARS), BARS - 1)] += 1
        self._keep(row)

    @property
    def examples(self) -> list[Verdict]:
        """Rows nearest to the threshold tell most; those with an error come first."""
        return [*self._broken, *sorted(self._near, key=_distance)][:EXAMPLES]

    def _keep(self, row: Verdict) -> None:
        if row.flaw is not None:
            self.errors[row.flaw.code] += 1
            if len(self._broken) < EXAMPLES:
                self._broken.append(row)
            return
        self._near.append(row)
        if len(self._near) > 2 * EXAMPLES:
            self._near = sorted(self._near, key=_distance)[:EXAMPLES]


def _distance(row: Verdict) -> float:
    return abs(row.risk - 0.5) if isfinite(row.risk) else inf
