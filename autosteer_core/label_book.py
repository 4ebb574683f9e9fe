"""Labels are what was said of an item, by whom: they hold when a reviewer says so, or when two sources agree.

A probe that learns from its own flags learns nothing but to believe itself, so what a gate did is never a statement.
One source alone is not enough either: it may be wrong, or poisoned.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autosteer_core.values import Label


class LabellerKind(StrEnum):
    """Who says it: a person who looked at the item, a file from somewhere, or a model that judged the answer."""

    REVIEWER = "reviewer"
    IMPORT = "import"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Statement:
    """One source's word about one item: what it says later of the same item replaces what it said before.

    `content` is the item's `content_hash`, 32 bytes, so that a label follows what the model is shown and not an id.
    `at` is UTC, ISO 8601; `run_id` is the run in whose output the item was looked at, where there was one.
    """

    content: bytes
    item_id: str
    label: Label
    labeller: str
    kind: LabellerKind
    at: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A label that holds: who said so, in alphabetical order, and the weakest kind among them."""

    label: Label
    by: tuple[str, ...]
    kind: LabellerKind
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Book:
    """Every item that anybody spoke of, by content: it has a label, its sources disagree, or one alone has spoken."""

    resolved: Mapping[bytes, Resolved]
    conflicts: Mapping[bytes, tuple[Statement, ...]]
    waiting: Mapping[bytes, Statement]


_WEAKEST_FIRST = (LabellerKind.JUDGE, LabellerKind.IMPORT, LabellerKind.REVIEWER)


def resolved(statements: Iterable[Statement]) -> dict[bytes, Resolved]:
    """Content -> the label that holds; what is told twice, or in another order, changes nothing."""
    return dict(book(statements).resolved)


def book(statements: Iterable[Statement]) -> Book:
    """All that was said, item by item, in the order of the contents."""
    found, conflicts, waiting = {}, {}, {}
    for content, said in sorted(_by_content(latest(statements)).items()):
        heard = _who_counts(said)
        if len({statement.label for statement in heard}) > 1:
            conflicts[content] = heard
        elif len(heard) > 1 or heard[0].kind is LabellerKind.REVIEWER:
            found[content] = _agreed(heard)
        else:
            waiting[content] = heard[0]
    return Book(found, conflicts, waiting)


def latest(statements: Iterable[Statement]) -> list[Statement]:
    """The last word of every labeller about every item; of two at one instant, harmful counts."""
    last: dict[tuple[bytes, str], Statement] = {}
    for statement in sorted(statements, key=_when):
        last[statement.content, source_of(statement)] = statement
    return list(last.values())


def source_of(statement: Statement) -> str:
    """Two names that look the same to a person are one source, or a source could agree with itself."""
    return " ".join(statement.labeller.casefold().split())


def _when(statement: Statement) -> tuple[str, bool, str, str, str, str]:
    # All of it, so that the order of files in a store decides nothing.
    harmful = statement.label is Label.HARMFUL
    return statement.at, harmful, statement.kind, statement.labeller, statement.item_id, statement.run_id or ""


def _by_content(statements: Iterable[Statement]) -> dict[bytes, list[Statement]]:
    found: dict[bytes, list[Statement]] = {}
    for statement in statements:
        found.setdefault(statement.content, []).append(statement)
    return found


def _who_counts(said: Sequence[Statement]) -> tuple[Statement, ...]:
    """The reviewers, where one has spoken: a person overrules files and models, but not another person."""
    reviewers = [statement for statement in said if statement.kind is LabellerKind.REVIEWER]
    return tuple(sorted(reviewers or said, key=source_of))


def _agreed(heard: Sequence[Statement]) -> Resolved:
    kind = min((statement.kind for statement in heard), key=_WEAKEST_FIRST.index)
    return Resolved(heard[0].label, tuple(map(source_of, heard)), kind, heard[0].item_id)
