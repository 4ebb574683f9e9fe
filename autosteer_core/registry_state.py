"""What stands in a registry: the state that its entries lead to, one after the other."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from autosteer_core.audit_log import Deed, Entry, Head
from autosteer_core.values import BundleId


class Stage(StrEnum):
    """Where a bundle is in its life."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    RETIRED = "retired"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    RECALLED = "recalled"


OVER = frozenset({Stage.REFUSED, Stage.RECALLED})  # for good: such a bundle never serves again


@dataclass(frozen=True, slots=True)
class Published:
    """Where a bundle comes from. `material` and `holdout` are SHA-256s of what it was fitted and gated on.

    `metrics` are JSON values; `fingerprint` and `at` (UTC, ISO 8601) are filled in by the registry.
    """

    parent: BundleId | None = None
    material: str | None = None
    holdout: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    fingerprint: str = ""
    at: str = ""

    def subject(self) -> dict[str, Any]:
        """As an entry holds it; what is not a finite number becomes null, as JSON has none."""
        about = {name: getattr(self, name) for name in ("parent", "material", "holdout", "seed", "fingerprint")}
        return about | {"metrics": json.loads(json.dumps(self.metrics), parse_constant=lambda _: None)}


@dataclass(frozen=True, slots=True)
class Move:
    """One step in the life of a bundle: who did what, when and why. `replaced` served until then."""

    number: int
    at: str
    deed: str
    bundle_id: BundleId
    who: str
    reason: str
    replaced: BundleId | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """All that the entries up to `number` lead to; plain values, so that it travels.

    `epoch` is the number of the entry that made `serving` serve, 0 before the first; it only grows. `moved` is that
    of the last entry that changed what serves or is tried: what is compared before the next such change. `canary` is
    the share of parts, [0, 1), that are leased with `shadow`. `line` are the bundles that can be gone back to, the
    serving one last. `signatures` are those that the entries hold, the latest of each bundle.
    """

    head: Head | None = None
    epoch: int = 0
    moved: int = 0
    serving: BundleId | None = None
    shadow: BundleId | None = None
    canary: float = 0.0
    line: tuple[BundleId, ...] = ()
    stages: Mapping[BundleId, Stage] = field(default_factory=dict)
    records: Mapping[BundleId, Published] = field(default_factory=dict)
    signatures: Mapping[BundleId, str] = field(default_factory=dict)
    history: tuple[Move, ...] = ()

    @property
    def number(self) -> int:
        """Entries read so far."""
        return self.head.number if self.head else 0

    @property
    def before(self) -> BundleId | None:
        """What a rollback leads to where it names nothing."""
        return self.line[-2] if len(self.line) > 1 else None

    def moves(self) -> tuple[Move, ...]:
        """Who did what to which bundle, when and why, in order."""
        return self.history


def after(state: State, entry: Entry) -> State:
    """The state with one more entry; what entries of other deeds tell is not about bundles.

    Raises:
        KeyError, TypeError, ValueError: the entry lacks what its deed needs.
    """
    change = _CHANGES.get(entry.deed)
    if change is None:
        return replace(state, head=entry.head)
    moved = state.moved if entry.deed == Deed.BUNDLE_PUBLISHED else entry.number
    history = (*state.history, _move(state, entry))
    return replace(change(state, entry), head=entry.head, moved=moved, history=history)


def _published(state: State, entry: Entry) -> State:
    about, bundle_id = entry.subject, _bundle(entry)
    values = {name: about[name] for name in ("parent", "material", "holdout", "metrics", "seed", "fingerprint")}
    return replace(
        state,
        stages={bundle_id: Stage.CANDIDATE, **state.stages},  # one that was refused before stays so
        records={**state.records, bundle_id: Published(**values, at=entry.at)},
    )


def _refused(state: State, entry: Entry) -> State:
    return _ended(state, _bundle(entry), Stage.REFUSED)


def _recalled(state: State, entry: Entry) -> State:
    return _ended(state, _bundle(entry), Stage.RECALLED)


def _ended(state: State, bundle_id: BundleId, stage: Stage) -> State:
    line = tuple(each for each in state.line if each != bundle_id)
    return replace(_untried(state, bundle_id), line=line, stages={**state.stages, bundle_id: stage})


def _shadowed(state: State, entry: Entry) -> State:
    """Only one is tried at a time: another that was is a candidate again."""
    bundle_id = _bundle(entry)
    stages = {**state.stages, **({state.shadow: Stage.CANDIDATE} if state.shadow else {}), bundle_id: Stage.SHADOW}
    return _signed(replace(state, shadow=bundle_id, canary=0.0, stages=stages), entry)


def _canary(state: State, entry: Entry) -> State:
    bundle_id, share = _bundle(entry), float(entry.subject["share"])
    stages = {**state.stages, bundle_id: Stage.CANARY if share else Stage.SHADOW}
    return _signed(replace(state, shadow=bundle_id, canary=share, stages=stages), entry)


def _promoted(state: State, entry: Entry) -> State:
    bundle_id = _bundle(entry)
    line = (*(each for each in state.line if each != bundle_id), bundle_id)
    return _serving(state, entry, Stage.RETIRED, line)


def _rolled_back(state: State, entry: Entry) -> State:
    """What was left is not gone back to by itself, and neither is what came after the one that serves now."""
    bundle_id = _bundle(entry)
    left = state.line[:-1]
    line = left[: left.index(bundle_id) + 1] if bundle_id in left else (*left, bundle_id)
    return _serving(state, entry, Stage.ROLLED_BACK, line)


def _serving(state: State, entry: Entry, left: Stage, line: tuple[BundleId, ...]) -> State:
    bundle_id = _bundle(entry)
    stages = {**state.stages, **({state.serving: left} if state.serving else {}), bundle_id: Stage.PROMOTED}
    changed = replace(state, serving=bundle_id, epoch=entry.number, line=line, stages=stages)
    return _signed(_untried(changed, bundle_id), entry)


def _untried(state: State, bundle_id: BundleId) -> State:
    return replace(state, shadow=None, canary=0.0) if state.shadow == bundle_id else state


def _signed(state: State, entry: Entry) -> State:
    return replace(state, signatures={**state.signatures, _bundle(entry): str(entry.subject["signature"])})


def _move(state: State, entry: Entry) -> Move:
    about = entry.subject
    return Move(
        entry.number,
        entry.at,
        entry.deed,
        _bundle(entry),
        str(about.get("who", "")),
        str(about.get("reason", "")),
        state.serving if entry.deed in {Deed.BUNDLE_PROMOTED, Deed.ROLLED_BACK} else None,
        float(about.get("share", 0.0)),
    )


def _bundle(entry: Entry) -> BundleId:
    return BundleId(str(entry.subject["bundle_id"]))


_CHANGES: Mapping[str, Callable[[State, Entry], State]] = {
    Deed.BUNDLE_PUBLISHED: _published,
    Deed.BUNDLE_REFUSED: _refused,
    Deed.BUNDLE_SHADOWED: _shadowed,
    Deed.CANARY_STARTED: _canary,
    Deed.BUNDLE_PROMOTED: _promoted,
    Deed.ROLLED_BACK: _rolled_back,
    Deed.BUNDLE_RECALLED: _recalled,
}
