"""What a bundle says of the locked holdout: risk and gate of every row, and the slices that they are looked at in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from autosteer_core.bundle import Bundle
from autosteer_core.material import Material
from autosteer_core.values import Modality

Flags = NDArray[np.bool_]
SLICED_BY = ("modality", "language", "source")


@dataclass(frozen=True, slots=True)
class Scores:
    """Row n of every field is row n of the holdout; a slice is a mask, named `modality=image`, `source=x`.

    `logit_N` ranks as `risk_N` does, and goes on where a risk is 0 or 1 to the last digit.
    """

    risk_N: NDArray[np.float64]
    logit_N: NDArray[np.float64]
    gate_N: Flags
    harmful_N: Flags
    slices: Mapping[str, Flags]


def score(bundle: Bundle, holdout: Material) -> Scores:
    """No forward pass: the probe reads stored activations, the gate takes the threshold of each row's modality."""
    logit_N = bundle.probe.logit(holdout.activation_ND)
    risk_N = torch.sigmoid(logit_N).double().numpy()
    threshold_N = np.array([bundle.threshold(Modality(name)) for name in holdout.modality_N])
    return Scores(risk_N, logit_N.double().numpy(), ~(risk_N < threshold_N), holdout.harmful_N, slices(holdout))


def slices(holdout: Material) -> dict[str, Flags]:
    """A column that is the same in every row divides nothing, and an empty value names no slice."""
    columns = {name: getattr(holdout, f"{name}_N") for name in SLICED_BY}
    return {
        f"{name}={value}": column == value
        for name, column in columns.items()
        for value in np.unique(column)
        if value and not (column == value).all()
    }
