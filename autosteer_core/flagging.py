"""Which rows a person should look at, and why: what the gate did is a reason to look, and never a label."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a row is worth a look; a row may have several."""

    GATE_OPEN = "gate open"
    BORDERLINE = "borderline"
    JUDGE = "judge disagrees"
    DRIFT = "unlike the reference"
    NO_RISK = "no risk"


@dataclass(frozen=True, slots=True)
class Flagged:
    """A row of a run by its places: `source` and `row` in the manifest, `content` is its hash; it holds no content.

    `judges` are the names of those that disagree with the gate. `distance` is from the reference, in multiples of
    what 99 % of it keep to.
    """

    content: bytes
    item_id: str
    source: str
    row: int
    action: str
    risk: float
    threshold: float | None
    bundle_id: str | None
    reasons: tuple[Reason, ...]
    judges: tuple[str, ...] = ()
    distance: float | None = None


def reasons_of(row: Flagged, *, gate_open: bool, band: float) -> tuple[Reason, ...]:
    """All that apply; `band` is in natural log odds around the threshold."""
    found = {
        Reason.GATE_OPEN: gate_open,
        Reason.BORDERLINE: row.threshold is not None and abs(_odds(row.risk) - _odds(row.threshold)) <= band,
        Reason.JUDGE: bool(row.judges),
        Reason.DRIFT: row.distance is not None and row.distance > 1,
        Reason.NO_RISK: math.isnan(row.risk),
    }
    return tuple(reason for reason, applies in found.items() if applies)


def _odds(risk: float) -> float:
    """In natural log, and finite at both ends."""
    risk = min(max(risk, 1e-12), 1 - 1e-12)
    return math.log(risk / (1 - risk))


# A judge that disagrees, or a row like none before it, tells of what the probe does not know yet.
_TELLING = (Reason.NO_RISK, Reason.JUDGE, Reason.DRIFT, Reason.BORDERLINE, Reason.GATE_OPEN)


def worth_most_first(rows: Iterable[Flagged]) -> list[Flagged]:
    """The order of a review: most reasons first, then the most telling reason, then the closest to the threshold."""
    return sorted(rows, key=_worth)


def _worth(row: Flagged) -> tuple[int, int, float, str, int]:
    most_telling = min(map(_TELLING.index, row.reasons), default=len(_TELLING))
    return -len(row.reasons), most_telling, _gap(row), row.source, row.row


def _gap(row: Flagged) -> float:
    gap = abs(row.risk - (row.threshold if row.threshold is not None else 0.5))
    return 0.0 if math.isnan(gap) else gap  # a risk that is no number is as doubtful as can be
