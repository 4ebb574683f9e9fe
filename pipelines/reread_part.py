"""One part's kept activations, read again by a bundle, beside what its verdicts say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosteer_core.bundle import Bundle
from autosteer_core.commit import read_activations_of, read_part
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, NotConserved
from autosteer_core.replay import Gates, Rescorer, Risks
from infra.activation_table import ActivationTable, activation_tables, taken
from infra.verdict_gates import VerdictGates, verdict_gates


@dataclass(frozen=True, slots=True)
class Reread:
    """Of the rows of a part that are kept, (N,) each: their places in the part, and the bundle's word on them."""

    gates: VerdictGates
    ids: Sequence[Any]  # Arrow arrays
    place_N: NDArray[np.int64]
    modality_N: NDArray[np.str_]
    risk_N: Risks
    gate_N: Gates

    @property
    def flips(self) -> NDArray[np.int64]:
        """Indices of rows whose gate is another now, or was evaluated for the first time."""
        was_N = self.gates.open_N[self.place_N]
        judged_N = self.gates.judged_N[self.place_N]
        flipped: NDArray[np.int64] = np.flatnonzero(
            np.where(judged_N, was_N != self.gate_N, np.isfinite(self.risk_N))
        )
        return flipped

    def item_ids(self, indices: NDArray[np.int64]) -> list[str]:
        """Of the rows at these indices."""
        return taken(self.ids, indices)


def reread(store: BlobStore, record: CommitRecord, bundle: Bundle) -> Reread | None:
    """None where no activations of the part are kept.

    Raises:
        UserMistake: E_REPLAY_ORIGIN, they were read from another model or at other sites than the bundle reads.
        NotConserved: a file is gone or was changed after its commit, or is of other rows.
    """
    data = read_activations_of(store, record)
    if data is None:
        return None
    rescore = Rescorer(bundle)
    ids, modalities, places, risks, opened = [], [], [], [], []
    for table in activation_tables(data, verified=True):  # the vectors of one stay in a core's cache, and go
        require_origin(table, bundle, f"part {record.part_id} of {store.describe()}")
        risk_N, gate_N = rescore(table.activation_ND, table.modality_N)
        ids.append(table.ids)
        modalities.append(table.modality_N)
        places.append(table.row_N - record.start)
        risks.append(risk_N)
        opened.append(gate_N)
    place_N = np.concatenate(places)
    if place_N.min() < 0 or place_N.max() >= record.rows:
        raise NotConserved(f"activations of part {record.part_id} are of other rows: restore them from another copy")
    gates = verdict_gates(read_part(store, record), verified=True)
    return Reread(gates, ids, place_N, np.concatenate(modalities), np.concatenate(risks), np.concatenate(opened))


def require_origin(table: ActivationTable, bundle: Bundle, where: str) -> None:
    """Raise UserMistake unless the rows are what the bundle's probe would read."""
    sites = ", ".join(map(str, bundle.sites))
    found = table.origin
    if (found["model_fingerprint"], found["sites"]) != (bundle.fingerprint, sites):
        raise UserMistake(
            f"{where} has activations of model {found['model_fingerprint'][:12]} at {found['sites']}, the bundle "
            f"reads {sites} of {bundle.fingerprint[:12]}: only the model can read these items anew, run them with it",
            "E_REPLAY_ORIGIN",
        )
