"""A registry whose bundle serves, labelled activations beside it, and what a retraining asks of others, in short."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from autosteer_core.audit_log import Deed
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.material import Material, Origin, Use
from autosteer_core.operating_point import Bound
from autosteer_core.ports import BlobStore
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.registry import Published, Registry
from autosteer_core.retraining import RetrainOptions, retrain
from autosteer_core.values import BundleId
from pipelines.materials import keep
from pipelines.retrain import Learning, RetrainRequest
from tests.bundle_bytes import TRUST
from tests.registries import registry
from tests.tiny_material import tiny_material
from tests.unit.test_retraining import parent_of

OPTIONS = RetrainOptions(probe=ProbeOptions(hidden=8, learning_rate=1e-2, epochs=60), bound=Bound(0.3))
REQUEST = RetrainRequest(OPTIONS, who="a@b", trust=TRUST)


def new_rows(rows: int = 40, seed: int = 1, gap: float = 3.0) -> Material:
    """Labelled since, and not assigned to any use."""
    return replace(tiny_material(rows, gap, seed), use_N=np.full(rows, Use.NONE.value))


def serving(
    store: BlobStore, opened: Registry | None = None, held_rows: int = 60, rows: int = 300, gap: float = 3.0
) -> BundleId:
    """What `calibrate --registry` and `promote` leave behind."""
    base = tiny_material(rows, gap)
    held = replace(tiny_material(held_rows, seed=99), use_N=np.full(held_rows, Use.HOLDOUT.value))
    fitted, holdout = keep(store, base), keep(store, held)
    opened = opened or registry(store)
    opened.tell(Deed.HOLDOUT_LOCKED, {"holdout": holdout.sha256})
    made = retrain(parent_of(), base, OPTIONS)
    bundle_id = opened.publish(to_files(made), Published(material=fitted.sha256, holdout=holdout.sha256))
    opened.promote(bundle_id, "first", "a@b")
    return bundle_id


def learning(new: Material, reasons: tuple[str, ...] = ()) -> Learning:
    """Takes every new row, and gates by what it is told."""

    def labelled(origin: Origin) -> Material:
        return replace(new, origin=origin)

    def curate(base: Material, rows: Material) -> tuple[Material, Mapping[str, int]]:
        known = set(base.content_N.tolist())
        fresh = np.array([content not in known for content in rows.content_N], bool)
        return Material.joined([base, rows.take(fresh)]), {"known": int((~fresh).sum())}

    def gate(candidate: Bundle, parent: Bundle, holdout: Material, training: Material, count: int) -> tuple[str, ...]:
        assert parent.bundle_id == candidate.report["retraining"]["parent"]
        assert set(holdout.use_N) == {Use.HOLDOUT.value} and count <= len(training)
        return reasons

    return Learning(labelled, curate, gate)
