"""Another bundle's word on items that were read before: from kept activations alone, without the model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autosteer_core.bundle import Bundle
from autosteer_core.probe import gate_is_open
from autosteer_core.values import Modality

_ROWS_AT_ONCE = 128  # of four sites of 576 in float32: what a core's own cache holds

Risks = NDArray[np.float64]
Gates = NDArray[np.bool_]


def rescore(bundle: Bundle, activation_ND: NDArray[np.float16], modality_N: NDArray[np.str_]) -> tuple[Risks, Gates]:
    """Risk and gate of every row, (N,) each, as the bundle's probe and thresholds have them.

    The probe reads what float16 left of an activation, so a risk differs from the one that was measured by about a
    thousandth of what it depends on; a NaN opens the gate.
    """
    risk_N = _risks(bundle, torch.from_numpy(activation_ND)).double()
    return risk_N.numpy(), gate_is_open(risk_N, _thresholds(bundle, modality_N)).numpy()


def _thresholds(bundle: Bundle, modality_N: NDArray[np.str_]) -> Tensor:
    """(N,) float64."""
    names, place_N = np.unique(modality_N, return_inverse=True)
    each = np.array([bundle.threshold(Modality(name)) for name in names], np.float64)
    return torch.from_numpy(each[place_N.reshape(-1)])


def _risks(bundle: Bundle, activation_ND: Tensor) -> Tensor:
    """As `Probe.risk`, but rows are widened a few at a time: in one go, memory would be the slowest part."""
    probe = bundle.probe
    # The scale goes into the weights, once; the mean may not, for of a constant feature both are large and cancel.
    weight_DH = (probe.inner_weight / probe.scale).T.contiguous()
    risk_N = torch.empty(len(activation_ND))
    for start in range(0, len(activation_ND), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        centred_ND = activation_ND[rows].float().sub_(probe.mean)
        inner_NH = torch.addmm(probe.inner_bias, centred_ND, weight_DH).relu_()
        risk_N[rows] = torch.sigmoid((inner_NH @ probe.outer_weight + probe.outer_bias) / probe.temperature)
    return risk_N
