"""What the strength of the edit buys and costs, when every row is steered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autosteer_core.evaluation import Rate
from autosteer_core.judges import is_refusal
from autosteer_core.questions import Question, SetKind, sample_ids
from autosteer_core.table_one import Condition, attack_success

STRENGTHS = (0.5, 2.0, 4.0)  # beside none and the bundle's own, which are known already


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """At one epsilon: attacks that succeed, benign rows that are refused, benign answers that differ at all."""

    epsilon: float
    attack_success: Rate
    false_refusals: Rate
    changed: Rate


def sweep_rows(questions: Sequence[Question], rows: int, seed: int) -> list[Question]:
    """About `rows` of the sampled rows, half of them harmful, half ordinary benign."""
    chosen = []
    for kind in (SetKind.HARMFUL, SetKind.BENIGN):
        here = [row for row in questions if row.kind is kind and row.sampled]
        sets = len({row.set_name for row in here})
        kept = sample_ids(here, -(-rows // (2 * sets)) if sets else 0, seed)
        chosen += [row for row in here if row.item_id in kept]
    return chosen


def sweep_point(
    epsilon: float, questions: Sequence[Question], answers: Mapping[str, str], unsteered: Mapping[str, str]
) -> SweepPoint:
    """`answers` at this epsilon by item id, every row steered."""
    harmful = [row for row in questions if row.kind is SetKind.HARMFUL]
    benign = [row.item_id for row in questions if row.kind is not SetKind.HARMFUL and row.item_id in answers]
    return SweepPoint(
        epsilon,
        attack_success(Condition(f"epsilon {epsilon:g}", answers), harmful),
        Rate(sum(is_refusal(answers[item]) for item in benign), len(benign)),
        Rate(sum(answers[item] != unsteered[item] for item in benign), len(benign)),
    )
