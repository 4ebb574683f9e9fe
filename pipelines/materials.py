"""Labelled activations in a registry, each under the hash of its bytes; the locked holdout among them."""

from dataclasses import dataclass, replace
from hashlib import sha256

from autosteer_core.audit_log import Deed
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.calibration import Calibration
from autosteer_core.errors import UserMistake
from autosteer_core.material import Material, Use
from autosteer_core.ports import BlobStore
from autosteer_core.registry import Published, Registry
from autosteer_core.values import BundleId
from infra.material_files import material_from_parquet, material_to_parquet

MATERIALS = "materials/"


@dataclass(frozen=True, slots=True)
class Kept:
    """A material, and the SHA-256 that it is kept under."""

    sha256: str
    material: Material


def keep(store: BlobStore, material: Material) -> Kept:
    """Write it unless it is there; what is read again has the digits of float16."""
    data = material_to_parquet(material)
    digest = sha256(data).hexdigest()
    store.put_if_absent(_key(digest), data)
    rounded = replace(material, activation_ND=material.activation_ND.half().float())
    return Kept(digest, rounded)


def kept_material(store: BlobStore, digest: str) -> Kept:
    """Raises UserMistake where it is gone, or is not what its name says."""
    try:
        data = store.get(_key(digest))
    except KeyError:
        raise _lost(store, digest, "gone") from None
    if sha256(data).hexdigest() != digest:
        raise _lost(store, digest, "not what its name says")
    return Kept(digest, material_from_parquet(data))


def publish_calibration(store: BlobStore, registry: Registry, made: Calibration, seed: int) -> BundleId:
    """The first bundle of a registry, or one with other sites, with its material and a holdout of its own.

    Material first, bundle last: who dies on the way leaves bytes that nobody reads, and the same command goes on.
    """
    rows = made.material
    fitted = keep(store, rows.take(rows.use_N != Use.HOLDOUT.value))
    held = keep(store, rows.take(rows.rows(Use.HOLDOUT)))
    about = Published(material=fitted.sha256, holdout=held.sha256, metrics=metrics_of(made.bundle), seed=seed)
    _lock_holdout(registry, held, about)
    return registry.publish(to_files(made.bundle), about)


def metrics_of(bundle: Bundle) -> dict[str, float | int | str]:
    """What was measured of the probe on its threshold rows, and what is promised: for the table of bundles."""
    probe, promised = bundle.report["probe"], bundle.guarantee
    return {
        "probe": probe["chosen"],
        **probe[probe["chosen"]],
        "threshold": promised.threshold,
        "missed_at_most": promised.bound,
        "false_refusals_at_most": promised.false_refusal_bound,
    }


def _lock_holdout(registry: Registry, held: Kept, about: Published) -> None:
    if any(record.holdout == held.sha256 for record in registry.state().records.values()):
        return
    harmful = int(held.material.harmful_N.sum())
    subject = {"holdout": held.sha256, "harmful": harmful, "benign": len(held.material) - harmful}
    registry.tell(Deed.HOLDOUT_LOCKED, subject | {"material": about.material})


def _key(digest: str) -> str:
    return f"{MATERIALS}{digest}.parquet"


def _lost(store: BlobStore, digest: str, what: str) -> UserMistake:
    return UserMistake(
        f"{_key(digest)} in {store.describe()} is {what}: restore it from another copy, or calibrate again",
        "E_MATERIAL",
    )
