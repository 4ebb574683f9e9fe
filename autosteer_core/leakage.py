"""Rows of an evaluation set that the calibration set has shown already."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from autosteer_core.picture_overlap import PictureTrace, picture_trace, similar_pictures
from autosteer_core.pictures import DirectDecoder, PictureDecoder
from autosteer_core.text_overlap import normalised, text_matches
from autosteer_core.values import Item

# A text beside that many different pictures is a template such as "describe this": there the picture decides.
TEMPLATE_ROWS = 10


class LeakReason(StrEnum):
    """How the row repeats a calibration row."""

    EXACT_TEXT = "exact text"
    NEAR_TEXT = "near text"
    SAME_PICTURE = "same picture"
    SIMILAR_PICTURE = "similar picture"


@dataclass(frozen=True, slots=True)
class Leak:
    """One reason against one evaluation row; `similarity` in (0, 1] is 1 where text or bytes are equal."""

    item_id: str
    group: str
    reason: LeakReason
    calibration_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Leakage:
    """All leaks, in the order of the evaluation rows, and how many rows each group (set) has."""

    rows: Mapping[str, int]
    leaks: tuple[Leak, ...]

    @property
    def item_ids(self) -> frozenset[str]:
        """The rows that must not count in an evaluation."""
        return frozenset(leak.item_id for leak in self.leaks)

    def counts(self) -> dict[str, dict[str, int]]:
        """Per group: its rows, how many of them leaked, and how many by each reason."""
        return {group: {"rows": rows, **self._counts_of(group)} for group, rows in self.rows.items()}

    def _counts_of(self, group: str) -> dict[str, int]:
        here = [leak for leak in self.leaks if leak.group == group]
        reasons = Counter(str(leak.reason) for leak in here)
        return {"leaked": len({leak.item_id for leak in here}), **reasons}


@dataclass(frozen=True, slots=True)
class Traces:
    """What is kept of many items: ids, groups, normalised texts, and traces of pictures with their item's number."""

    item_ids: list[str]
    groups: list[str]
    texts: list[str]
    pictures: list[PictureTrace]
    owners: list[int]


def traces_of(items: Iterable[Item], decoder: PictureDecoder | None = None) -> Traces:
    """Reads every item once and keeps none, so that the pictures of a large set never lie in memory together."""
    traces, decoder = Traces([], [], [], [], []), decoder or DirectDecoder()
    for number, item in enumerate(items):
        traces.item_ids.append(item.item_id)
        traces.groups.append(item.annotation.group_name)
        traces.texts.append(normalised(item.text))
        traces.pictures.extend(picture_trace(data, decoder) for data in item.images)
        traces.owners.extend(number for _ in item.images)
    return traces


def find_leakage(calibration: Iterable[Item], evaluation: Iterable[Item]) -> Leakage:
    """Compare every evaluation row with every calibration row; rows within one set are never compared.

    An item matches by text if the normalised texts are equal or their character n-grams nearly so, and by picture
    if the bytes are equal or the thumbnails correlate. Each row is reported at most once per kind of match.
    """
    return leakage_between(traces_of(calibration), traces_of(evaluation))


def leakage_between(known: Traces, asked: Traces) -> Leakage:
    """The same for traces that were taken before."""
    leaks = [*_by_text(known, asked), *_by_picture(known, asked)]
    place = {item_id: number for number, item_id in enumerate(asked.item_ids)}
    return Leakage(dict(Counter(asked.groups)), tuple(sorted(leaks, key=lambda leak: place[leak.item_id])))


def _by_text(known: Traces, asked: Traces) -> Iterator[Leak]:
    templates = _templates(asked)
    texts = ["" if text in templates else text for text in asked.texts]
    for match in text_matches(texts, known.texts):
        reason = LeakReason.EXACT_TEXT if texts[match.left] == known.texts[match.right] else LeakReason.NEAR_TEXT
        yield _leak(asked, match.left, reason, known.item_ids[match.right], match.similarity)


def _templates(asked: Traces) -> set[str]:
    """Texts that stand beside TEMPLATE_ROWS or more different pictures."""
    beside = {(asked.texts[owner], trace.sha256) for owner, trace in zip(asked.owners, asked.pictures, strict=True)}
    return {text for text, pictures in Counter(text for text, _ in beside).items() if pictures >= TEMPLATE_ROWS}


def _by_picture(known: Traces, asked: Traces) -> Iterator[Leak]:
    owner_of = {trace.sha256: owner for owner, trace in zip(known.owners, known.pictures, strict=True)}
    equal: dict[int, int] = {}
    for owner, trace in zip(asked.owners, asked.pictures, strict=True):
        if trace.sha256 in owner_of:
            equal.setdefault(owner, owner_of[trace.sha256])
    for owner, other in equal.items():
        yield _leak(asked, owner, LeakReason.SAME_PICTURE, known.item_ids[other], 1.0)
    told = set(equal)
    for left, right, correlation in similar_pictures(asked.pictures, known.pictures):
        owner = asked.owners[left]
        if owner not in told:
            told.add(owner)
            other_id = known.item_ids[known.owners[right]]
            yield _leak(asked, owner, LeakReason.SIMILAR_PICTURE, other_id, correlation)


def _leak(asked: Traces, number: int, reason: LeakReason, calibration_id: str, similarity: float) -> Leak:
    return Leak(asked.item_ids[number], asked.groups[number], reason, calibration_id, similarity)
