"""Of a file of verdicts what a gate needs to be compared with: a few columns as arrays."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.parquet_file import opened_parquet

OF_THE_BUNDLE = ["E_RISK", "E_LOGITS"]  # errors that a probe or a head can cause; others are of the item
_COLUMNS = ["risk", "gate_open", "opened_after", "error_code", "bundle_id"]


@dataclass(frozen=True, slots=True)
class VerdictGates:
    """Row n of the part: what its bundle's probe said, (N,) each; `judged_N` is False where no gate was evaluated.

    A gate that only a second look opened counts as closed: the probe left it so. `failed_N`: no number came out.
    """

    risk_N: NDArray[np.float64]
    open_N: NDArray[np.bool_]
    judged_N: NDArray[np.bool_]
    failed_N: NDArray[np.bool_]
    bundle_id: str


def verdict_gates(data: bytes, *, verified: bool = False) -> VerdictGates:
    """Of the rows in their order; `verified` where the bytes were compared with their digest.

    Raises:
        UserMistake: it is no file of verdicts, or it is damaged.
    """
    with opened_parquet(pa.BufferReader(data), "a file of verdicts", checksums=not verified) as file:
        table = file.read(columns=_COLUMNS, use_threads=False).combine_chunks()
    gate = table.column("gate_open")
    by_look = table.column("opened_after").is_valid().to_numpy()
    [bundle_id] = table.column("bundle_id").slice(0, 1).to_pylist() or [None]
    return VerdictGates(
        table.column("risk").to_numpy().astype(np.float64),
        gate.fill_null(False).to_numpy() & ~by_look,
        gate.is_valid().to_numpy(),
        pc.is_in(table.column("error_code"), pa.array(OF_THE_BUNDLE)).to_numpy(),
        str(bundle_id),
    )
