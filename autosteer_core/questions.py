"""A suite's rows as an evaluation knows them: which set, what kind, and what would be right."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class SetKind(StrEnum):
    """What a set is there to show."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    OVER_REFUSAL = "over-refusal"
    ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class Question:
    """`unit` names what is drawn whole in a bootstrap; `accepted` and `choices` belong to accuracy sets.

    `modality` is the suite's word where there is a suite. `sampled` rows are answered under every condition; rates
    of answers compare conditions on them only.
    """

    item_id: str
    set_name: str
    kind: SetKind
    modality: str
    unit: str
    accepted: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Some questions of one kind that a rate is reported for: a set, or sets pooled."""

    name: str
    kind: SetKind
    modality: str
    questions: Sequence[Question]


def scopes(questions: Sequence[Question]) -> Iterator[Scope]:
    """Per kind: every set, then all sets together, then every modality, where that adds anything."""
    for kind in SetKind:
        here = [question for question in questions if question.kind is kind]
        sets = _grouped(here, lambda question: question.set_name)
        for name, chosen in sets.items():
            yield Scope(name, kind, _modality(chosen), chosen)
        if len(sets) > 1:
            yield Scope(f"all {kind}", kind, _modality(here), here)
        modalities = _grouped(here, lambda question: question.modality)
        if len(modalities) > 1:
            for modality, chosen in modalities.items():
                yield Scope(f"all {kind}", kind, modality, chosen)


def _grouped(questions: Sequence[Question], key: Callable[[Question], str]) -> dict[str, list[Question]]:
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(key(question), []).append(question)
    return dict(sorted(groups.items()))


def _modality(questions: Sequence[Question]) -> str:
    found = {question.modality for question in questions}
    return found.pop() if len(found) == 1 else "mixed"


def sample_ids(questions: Sequence[Question], rows_per_set: int, seed: int) -> frozenset[str]:
    """At most `rows_per_set` rows of every set, chosen by a hash of seed and id: no order of rows matters."""

    def place(question: Question) -> str:
        return hashlib.sha256(f"{seed}:{question.item_id}".encode()).hexdigest()

    sets = _grouped(questions, lambda question: question.set_name)
    return frozenset(row.item_id for rows in sets.values() for row in sorted(rows, key=place)[:rows_per_set])
