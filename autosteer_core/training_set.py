"""Which new labels a bundle is made from: what everybody said, said once, and nobody said more than a share of.

Whoever can label can poison. So a label against a trusted one is left out, a flood of near-equal rows counts once,
and of what no reviewer vouched for, one labeller and one source give at most a small share of the set. What is still
wrong is for the gates.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autosteer_core.material import Material, require_origin
from autosteer_core.near_duplicates import Frame, leaders, nearest

Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]
TRUSTED = ("reviewer:", "manifest:")  # a person who looked at the item; the labelled manifest that the operator gave
KNOWN, CONFLICT, CORRECTED = "already known", "conflicting labels", "corrected by a reviewer"
NEAR, SHARE = "near duplicate", "over the share of one source"


@dataclass(frozen=True, slots=True)
class CurationLimits:
    """`share` of the whole set is the most from one labeller or source that no reviewer vouched for.

    Rows whose activations have a cosine of at least `cosine`, after the base's mean and scale are taken out, are near
    duplicates.
    """

    share: float = 0.05
    cosine: float = 0.99


@dataclass(frozen=True, slots=True)
class Curated:
    """The base's rows, then the new ones in the order of their contents; `dropped` rows by reason."""

    material: Material
    dropped: Mapping[str, int]


def curate(base: Material, new: Material, limits: CurationLimits) -> Curated:
    """The training set of the next bundle; the same whatever the order in which labels came.

    Raises:
        UserMistake: E_MATERIAL_ORIGIN, activations of another model or other sites.
    """
    require_origin(new.origin, base.origin)
    trusted_N = trusted(new)
    new = new.take(np.lexsort((new.content_N.astype("S32"), ~trusted_N)))
    dropped: Counter[str] = Counter()
    base, new = _without_conflicts(base, _said_once(new, dropped), dropped)
    new = _distinct(base, new, limits, dropped)
    kept_N = _within_share(base, new, limits.share)
    dropped[SHARE] += int((~kept_N).sum())
    new = new.take(kept_N)
    new = new.take(np.argsort(new.content_N.astype("S32"), kind="stable"))
    return Curated(Material.joined([base, new]), {reason: count for reason, count in dropped.items() if count})


def trusted(rows: Material) -> Flags:
    """Labelled by a reviewer, or in the first manifest; `labeller_N` is `KIND:NAME+NAME`."""
    return np.array([str(labeller).startswith(TRUSTED) for labeller in rows.labeller_N], bool)


def _said_once(new: Material, dropped: Counter[str]) -> Material:
    """One row a content. Rows come trusted first; of others that contradict each other none is kept."""
    first: dict[bytes, int] = {}
    unclear: set[bytes] = set()
    trusted_N = trusted(new)
    for row, content in enumerate(new.content_N):
        before = first.setdefault(content, row)
        if new.harmful_N[before] != new.harmful_N[row] and (trusted_N[before] == trusted_N[row]):
            unclear.add(content)
    kept = np.array([row for content, row in first.items() if content not in unclear], np.int64)
    dropped[CONFLICT] += sum(content in unclear for content in new.content_N)
    dropped[KNOWN] += sum(content not in unclear for content in new.content_N) - len(kept)
    return new.take(kept)


def _without_conflicts(base: Material, new: Material, dropped: Counter[str]) -> tuple[Material, Material]:
    """What both have: a reviewer's new word replaces the old one, any other new word has to agree with it."""
    place = {content: row for row, content in enumerate(base.content_N)}
    base_N, new_N = np.ones(len(base), bool), np.ones(len(new), bool)
    trusted_base_N, trusted_N = trusted(base), trusted(new)
    for row, content in enumerate(new.content_N):
        old = place.get(content)
        if old is None:
            continue
        agrees = bool(base.harmful_N[old] == new.harmful_N[row])
        corrects = not agrees and bool(trusted_N[row])
        new_N[row] = corrects
        base_N[old] = agrees or (bool(trusted_base_N[old]) and not corrects)
        dropped[KNOWN if agrees else CORRECTED if corrects else CONFLICT] += 1
    return base.take(base_N), new.take(new_N)


def _distinct(base: Material, new: Material, limits: CurationLimits, dropped: Counter[str]) -> Material:
    """Near a row with the same label nothing is new; near one with the other label only a reviewer is believed."""
    if not len(new):
        return new
    frame = Frame.of(base.activation_ND)
    base_ND, new_ND = (frame.directions(rows.activation_ND) for rows in (base, new))
    near_N, led_N, trusted_N = nearest(new_ND, base_ND, limits.cosine), leaders(new_ND, limits.cosine), trusted(new)
    disputed_N = (near_N >= 0) & (base.harmful_N[near_N] != new.harmful_N)
    again_N = (near_N >= 0) & ~disputed_N
    disputed_N |= _disputed(led_N, new.harmful_N)
    conflict_N = disputed_N & ~trusted_N
    same_N = ~conflict_N & (again_N | _led_by_its_like(led_N, new.harmful_N))
    dropped[CONFLICT] += int(conflict_N.sum())
    dropped[NEAR] += int(same_N.sum())
    return new.take(~conflict_N & ~same_N)


def _disputed(led_N: Rows, harmful_N: Flags) -> Flags:
    """Rows of a group that has both labels."""
    harm, members = np.bincount(led_N, harmful_N, len(led_N)), np.bincount(led_N, minlength=len(led_N))
    return np.asarray(((harm > 0) & (harm < members))[led_N])


def _led_by_its_like(led_N: Rows, harmful_N: Flags) -> Flags:
    return np.asarray((led_N != np.arange(len(led_N))) & (harmful_N == harmful_N[led_N]))


def _within_share(base: Material, new: Material, share: float) -> Flags:
    """Kept rows: the fewer there are, the less is a share of them, so it is asked again until nothing more goes."""
    limited = [*_limited(base, new)]
    kept_N = np.ones(len(new), bool)
    while True:
        most = int(share * (len(base) + int(kept_N.sum())))
        before = kept_N.copy()
        for has_N, had in limited:
            kept_N[np.flatnonzero(has_N & kept_N)[max(0, most - had) :]] = False
        if (kept_N == before).all():
            return kept_N


def _limited(base: Material, new: Material) -> Iterator[tuple[Flags, int]]:
    """For every name that no reviewer vouches for: which new rows bear it, and how many of the base do."""
    base_names, new_names = _names(base), _names(new)
    had = Counter(name for names in base_names for name in names)
    for name in sorted({name for names in new_names for name in names}):
        yield np.array([name in names for names in new_names], bool), had[name]


def _names(rows: Material) -> list[frozenset[str]]:
    """Of each row; none where it is trusted. An unknown source is no name."""
    return [
        frozenset()
        if is_trusted
        else frozenset({*(f"labeller {name}" for name in str(by).partition(":")[2].split("+")), f"source {source}"})
        - {"source "}
        for is_trusted, by, source in zip(trusted(rows), rows.labeller_N, rows.source_N, strict=True)
    ]
