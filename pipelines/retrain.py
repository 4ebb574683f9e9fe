"""Labels in, candidate out: snapshot, fit, gate, publish, in an order that may end anywhere.

What is written is named by its own hash, and a bundle counts only once its entry stands: whoever dies on the way
leaves bytes that nobody reads, and the same command makes them again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_signature import Trust
from autosteer_core.errors import UserMistake
from autosteer_core.material import Material, Origin, Use, require_origin
from autosteer_core.material_uses import apart_from, assigned
from autosteer_core.operating_point import Rows
from autosteer_core.ports import BlobStore
from autosteer_core.registry import MOST_REASON, Published, Registry, Stage, State
from autosteer_core.retraining import RetrainOptions, retrain
from autosteer_core.values import BundleId
from pipelines.materials import Kept, keep, kept_material, metrics_of
from pipelines.retrain_lease import LEASE_SECONDS, alone, refuse_second

Say = Callable[[str], None]
_ROOM = 20  # letters for how many reasons more there are


class Outcome(StrEnum):
    """How a retraining ended."""

    NOTHING = "nothing to do"
    REFUSED = "refused"
    CANDIDATE = "candidate"
    PROMOTED = "promoted"


@dataclass(frozen=True, slots=True)
class Learning:
    """What a retraining asks of others: labelled rows of an origin, a training set of old and new, the gates.

    `curate` gives the set and how many new rows it left out, by reason; `gate` gives the reasons against a candidate,
    from candidate, parent, locked holdout, training set and the number of rows that the parent had not.
    """

    labelled: Callable[[Origin], Material]
    curate: Callable[[Material, Material], tuple[Material, Mapping[str, int]]]
    gate: Callable[[Bundle, Bundle, Material, Material, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """`least` new labelled rows are waited for, unless `alarm` gives a reason not to; `who` is named in the log.

    Without `sign_off` a candidate that passes every gate is promoted at once.
    """

    options: RetrainOptions = field(default_factory=RetrainOptions)
    least: int = 1
    alarm: str | None = None
    sign_off: bool = True
    who: str = ""
    trust: Trust = field(default_factory=Trust)
    lease_seconds: float = LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Retrained:
    """What became of it: `new_labels` of the set's `rows` were not in the parent's, `reasons` are against it."""

    outcome: Outcome
    parent: BundleId
    bundle_id: BundleId | None = None
    material: str | None = None
    new_labels: int = 0
    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it, by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The parent, what it is compared on, and the set that the next bundle is made of.

    Of its rows, the `promised` ones are those that the parent's threshold was proven on.
    """

    state: State
    parent: Bundle
    holdout: Kept
    training: Material
    promised: Rows
    new_labels: int
    dropped: Mapping[str, int]


def retrain_registry(
    store: BlobStore, registry: Registry, learning: Learning, request: RetrainRequest, say: Say
) -> Retrained:
    """The next bundle of what serves, from its own material and what was labelled since; nothing new is no error.

    Raises:
        UserMistake: E_RETRAIN_RUNS, another retraining runs; nothing serves; the parent has no material; labels of
            another model; too few rows for the bound.
    """
    refuse_second(store, request.lease_seconds)
    say("gathering labelled activations")
    plan = _plan(store, registry, learning, request)
    if plan.new_labels < (1 if request.alarm else max(1, request.least)):
        return _told(plan, Outcome.NOTHING)
    about = {"parent": plan.parent.bundle_id, "new_labels": plan.new_labels, "who": request.who}
    with alone(store, registry, about | {"alarm": request.alarm}, request.lease_seconds) as told:
        done = _retrain(store, registry, learning, request, plan, say)
        told |= {"outcome": done.outcome, "bundle_id": done.bundle_id, "material": done.material}
    return done


def _plan(store: BlobStore, registry: Registry, learning: Learning, request: RetrainRequest) -> _Plan:
    state = registry.state()
    record = _record_of_serving(store, state)
    assert state.serving and record.material and record.holdout
    parent = admit(registry.files(state.serving), request.trust).bundle
    base, holdout = (kept_material(store, digest) for digest in (record.material, record.holdout))
    origin = Origin(parent.fingerprint, parent.sites)
    require_origin(base.material.origin, origin)
    new = learning.labelled(origin)
    if not len(new):
        return _Plan(state, parent, holdout, base.material, base.material.rows(Use.THRESHOLD), 0, {})
    training, dropped = learning.curate(base.material, apart_from(new, holdout.material))
    new_labels = len(_told_rows(training) - _told_rows(base.material))
    promised = training.rows(Use.THRESHOLD)  # new rows have no use yet
    return _Plan(state, parent, holdout, assigned(training, request.options.seed), promised, new_labels, dropped)


def _record_of_serving(store: BlobStore, state: State) -> Published:
    if state.serving is None:
        raise UserMistake(
            f"no bundle of {store.describe()} serves yet that could be retrained: `autosteer promote` one first",
            "E_REGISTRY_STAGE",
        )
    record = state.records[state.serving]
    if record.material is None or record.holdout is None:
        raise UserMistake(
            f"bundle {state.serving} was published without its labelled activations and a holdout: make one with "
            "`autosteer calibrate --registry`, and promote it",
            "E_MATERIAL",
        )
    return record


def _told_rows(rows: Material) -> set[tuple[bytes, bool]]:
    """What was shown, and what was said of it: a label that a reviewer corrected is a new one."""
    return set(zip(rows.content_N.tolist(), rows.harmful_N.tolist(), strict=True))


def _retrain(
    store: BlobStore, registry: Registry, learning: Learning, request: RetrainRequest, plan: _Plan, say: Say
) -> Retrained:
    say("keeping a snapshot")
    snapshot = keep(store, plan.training)
    if done := _made_before(plan, snapshot, request):
        return done
    say(f"fitting probe and thresholds: {len(plan.training):,} activations")
    candidate = retrain(plan.parent, snapshot.material, _options(request, snapshot), plan.promised)
    say("holding it against the gates")
    reasons = learning.gate(candidate, plan.parent, plan.holdout.material, snapshot.material, plan.new_labels)
    say("publishing")
    return _published(registry, request, plan, candidate, snapshot, tuple(reasons))


def _options(request: RetrainRequest, snapshot: Kept) -> RetrainOptions:
    given = request.options
    return RetrainOptions(given.seed, given.bound, given.probe, snapshot.sha256)


def _made_before(plan: _Plan, snapshot: Kept, request: RetrainRequest) -> Retrained | None:
    """A candidate of the same parent, snapshot and seed would be the same to the bit."""
    for bundle_id, record in plan.state.records.items():
        made_of = (record.parent, record.material, record.seed)
        if made_of == (plan.parent.bundle_id, snapshot.sha256, request.options.seed):
            stage = plan.state.stages[bundle_id]
            said = f"bundle {bundle_id} ({stage}) was made from the same labels"
            return _told(plan, Outcome.NOTHING, bundle_id, snapshot, (said,))
    return None


def _published(
    registry: Registry, request: RetrainRequest, plan: _Plan, made: Bundle, snapshot: Kept, reasons: tuple[str, ...]
) -> Retrained:
    if reasons:
        # Before it is published: at no moment can a bundle be promoted that did not pass.
        registry.refuse(made.bundle_id, _short(reasons), request.who)
    about = Published(
        parent=plan.parent.bundle_id,
        material=snapshot.sha256,
        holdout=plan.holdout.sha256,
        metrics=metrics_of(made),
        seed=request.options.seed,
    )
    bundle_id = registry.publish(to_files(made), about)
    if reasons:
        return _told(plan, Outcome.REFUSED, bundle_id, snapshot, reasons)
    if request.sign_off or registry.state().stages[bundle_id] is not Stage.CANDIDATE:
        return _told(plan, Outcome.CANDIDATE, bundle_id, snapshot)
    why = f"all gates passed, made from {plan.new_labels} new labels"
    registry.promote(bundle_id, why, request.who, expected=plan.state.number)
    return _told(plan, Outcome.PROMOTED, bundle_id, snapshot)


def _short(reasons: tuple[str, ...]) -> list[str]:
    """As many of them, whole, as an entry of the log has room for."""
    lengths = np.cumsum([len(reason) + len("; ") for reason in reasons])
    kept = int((lengths <= MOST_REASON - _ROOM).sum())
    left = [f"and {len(reasons) - kept} more"] if kept < len(reasons) else []
    return [*reasons[:kept], *left]


def _told(
    plan: _Plan,
    outcome: Outcome,
    bundle_id: BundleId | None = None,
    snapshot: Kept | None = None,
    reasons: tuple[str, ...] = (),
) -> Retrained:
    return Retrained(
        outcome,
        plan.parent.bundle_id,
        bundle_id,
        snapshot.sha256 if snapshot else None,
        plan.new_labels,
        len(plan.training),
        dict(plan.dropped),
        reasons,
    )
