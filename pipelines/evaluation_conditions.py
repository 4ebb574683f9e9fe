"""From the verdicts of all runs to what every condition answered and every detector saw."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from autosteer_core.bundle import Bundle
from autosteer_core.detection import Detector
from autosteer_core.epsilon_sweep import SweepPoint, sweep_point
from autosteer_core.questions import Question, SetKind
from autosteer_core.table_one import ALWAYS, CANNED, GATED, UNSTEERED, Condition
from autosteer_core.values import Verdict
from pipelines.evaluation_plan import OURS, Seen

GATE_ALONE = "gated, no second look"


def conditions_of(seen: Seen, questions: Sequence[Question], bundle: Bundle) -> list[Condition]:
    """Each way to treat the rows: none, always, gated, canned, then the controls and baselines."""
    sampled = {row.item_id for row in questions if row.sampled}
    paired = _told(seen.paired, questions)
    unsteered = {item: verdict.compared["unsteered"] for item, verdict in paired.items()}
    always = {item: verdict.compared["always"] for item, verdict in paired.items() if item in sampled}
    found = [Condition(UNSTEERED, unsteered), Condition(ALWAYS, always)]
    found += _gated(seen, questions, bundle, unsteered)
    for name in seen.risks.keys() - {OURS} - seen.others.keys():
        opened = _opened(seen, name)
        composed = {item: always[item] if opened[item] else unsteered[item] for item in always if item in opened}
        found.append(Condition(name, composed))
    for name, verdicts in seen.others.items():
        answered = _told(verdicts, questions)
        found.append(Condition(name, {item: verdict.answer or "" for item, verdict in answered.items()}))
    order = list(dict.fromkeys([UNSTEERED, ALWAYS, GATED, GATE_ALONE, CANNED, *seen.risks]))
    return sorted(found, key=lambda condition: order.index(condition.name))


def _gated(
    seen: Seen, questions: Sequence[Question], bundle: Bundle, unsteered: Mapping[str, str]
) -> list[Condition]:
    """A closed gate gives the unsteered answer, so that row need not be decoded to be known.

    A second look may open a gate late, so with it only decoded rows are known, and the gate alone is told apart.
    """
    verdicts = _told(seen.paired, questions) | _told(seen.attacked, questions)
    answers = {item: verdict.answer or "" for item, verdict in verdicts.items()}
    refused = {item: bundle.refusal if verdict.gate_open else answers[item] for item, verdict in verdicts.items()}
    closed = frozenset(row.item_id for row in questions if _opened(seen, OURS).get(row.item_id) is False)
    if bundle.second_look is None:
        unchanged = closed - answers.keys()
        return [Condition(GATED, answers, unchanged), Condition(CANNED, refused, unchanged)]
    fair = {row.item_id for row in questions if row.sampled or row.kind is SetKind.HARMFUL}
    alone = {item: unsteered[item] if item in closed else answers[item] for item in unsteered}
    return [
        Condition(GATED, {item: answers[item] for item in answers if item in fair}),
        Condition(GATE_ALONE, alone, closed - alone.keys()),
        Condition(CANNED, {item: refused[item] for item in refused if item in fair}),
    ]


def _told(verdicts: Mapping[str, Verdict], questions: Sequence[Question]) -> dict[str, Verdict]:
    wanted = {row.item_id for row in questions}
    return {item: verdict for item, verdict in verdicts.items() if item in wanted and verdict.answer is not None}


def _opened(seen: Seen, name: str) -> dict[str, bool]:
    """What the gate decided from the prompt; rows without a risk are not decided."""
    return {
        item: bool(verdict.gate_open)
        for item, verdict in seen.risks[name].items()
        if isfinite(verdict.risk) and verdict.gate_open is not None
    }


def detectors_of(seen: Seen) -> list[Detector]:
    """The probe of every bundle, ours first."""
    return [
        Detector(
            name,
            {item: verdict.risk for item, verdict in verdicts.items() if isfinite(verdict.risk)},
            _opened(seen, name),
        )
        for name, verdicts in seen.risks.items()
    ]


def sweep_of(seen: Seen, questions: Sequence[Question], bundle: Bundle) -> list[SweepPoint]:
    """The extra epsilons, none, and the bundle's own, on the same rows."""
    if not seen.swept:
        return []
    ids = set.intersection(*(set(_told(verdicts, questions)) for verdicts in seen.swept.values()))
    ids &= _told(seen.paired, questions).keys()
    rows = [row for row in questions if row.item_id in ids]
    without = {item: seen.paired[item].compared["unsteered"] for item in ids}
    answers = {
        epsilon: {item: verdicts[item].answer or "" for item in ids} for epsilon, verdicts in seen.swept.items()
    }
    answers |= {0.0: without, bundle.head.epsilon: {item: seen.paired[item].compared["always"] for item in ids}}
    return [sweep_point(epsilon, rows, answers[epsilon], without) for epsilon in sorted(answers)]


def answered_pairs(questions: Sequence[Question], conditions: Iterable[Condition]) -> set[tuple[str, str]]:
    """What a model judge reads: every answer to a harmful row."""
    harmful = {row.item_id for row in questions if row.kind is SetKind.HARMFUL}
    return {
        (item, answer) for condition in conditions for item, answer in condition.answers.items() if item in harmful
    }
