"""What a run is compared with to see drift: what its bundle was calibrated on, or an earlier run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from autosteer_core.bundle_reading import from_files
from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.values import Activation, BundleId
from infra.activation_files import activations_from_parquet, as_array, origin_of
from infra.material_files import material_from_parquet
from infra.open_store import open_store
from infra.verdict_files import provenance_of
from infra.verdict_rows import rows_from_parquet
from pipelines.registry_files import registry_of
from pipelines.settings import Settings

Array = NDArray[np.float32]
MOST_ROWS = 4000
MATERIALS = "materials/"


@dataclass(frozen=True, slots=True)
class Reference:
    """Activations (N, d) and risks (N,) of at most 4000 rows; `origin` is what files of activations say of theirs."""

    activation_ND: Array
    risk_N: Array
    origin: dict[str, str]
    name: str

    def require(self, origin: dict[str, str], out: str) -> None:
        """Raise UserMistake unless the run was read by the same model at the same sites."""
        if origin != self.origin:
            raise UserMistake(
                f"{out} was read at sites {origin['sites']} of model {origin['model_fingerprint'][:12]}, {self.name} "
                f"at sites {self.origin['sites']} of model {self.origin['model_fingerprint'][:12]}: compare runs of "
                "one model and of bundles with the same sites",
                "E_MATERIAL_ORIGIN",
            )


def run_reference(out: str) -> Reference:
    """The rows of a run that is known to be sound.

    Raises:
        UserMistake: no run there, or it kept no activations.
    """
    store = open_store(out)
    records = [record for record in read_records(store).current if record.activations]
    stride = max(1, sum(record.rows for record in records) // MOST_ROWS)
    rows = list(islice(_kept_rows(store, records), 0, None, stride))
    if not rows:
        raise UserMistake(
            f"{out} keeps no activations to compare with: name a run with activations=true", "E_ACTIVATIONS_MISSING"
        )
    data = read_activations_of(store, records[0])
    assert data is not None
    risks = np.array([risk for risk, _ in rows], np.float32)
    return Reference(as_array(activation for _, activation in rows), risks, origin_of(data), out)


def calibration_reference(registry: BlobStore, bundle_files: dict[str, bytes], material: str) -> Reference:
    """What a bundle was fitted on, with the risks that it gives.

    Raises:
        UserMistake: the material is gone or damaged.
    """
    try:
        found = material_from_parquet(registry.get(f"{MATERIALS}{material}.parquet"))
    except KeyError:
        raise UserMistake(
            f"{MATERIALS}{material}.parquet is gone from {registry.describe()}: restore it, or name a run to compare "
            "with as --against",
            "E_MATERIAL",
        ) from None
    some = found.take(np.arange(0, len(found), max(1, len(found) // MOST_ROWS)))
    with torch.inference_mode():
        risk_N = from_files(bundle_files).probe.risk(some.activation_ND)
    origin = {"model_fingerprint": str(found.origin.fingerprint), "sites": found.origin.sites_text}
    return Reference(some.activation_ND.numpy(), risk_N.numpy(), origin, "the calibration set")


def reference_for(out: str, settings: Settings, against: str | None) -> Reference | None:
    """The run `against`, or what the bundle of the run at `out` was fitted on, where the registry has it."""
    if against is not None:
        return run_reference(against)
    store = open_store(out)
    record = next(iter(read_records(store).current), None)
    bundle_id = BundleId(provenance_of(read_part(store, record)).get("bundle_id", "")) if record else None
    registry = registry_of(settings)
    published = registry.state().records.get(bundle_id) if bundle_id else None
    if bundle_id is None or published is None or published.material is None:
        return None
    return calibration_reference(open_store(str(settings.registry)), registry.files(bundle_id), published.material)


def _kept_rows(store: BlobStore, records: Iterable[CommitRecord]) -> Iterator[tuple[float, Activation]]:
    for record in records:
        data = read_activations_of(store, record)
        kept = activations_from_parquet(data) if data is not None else {}
        for row in rows_from_parquet(read_part(store, record)):
            if row["row"] in kept and row["risk"] is not None:
                yield row["risk"], kept[row["row"]]
