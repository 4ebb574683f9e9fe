"""Another bundle's word on items that were read before: from kept activations alone, without the model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autosteer_core.bundle import Bundle
from autosteer_core.probe import gate_is_open
from autosteer_core.values import Modality

_ROWS_AT_ONCE = 128  # of four sites of 576, a megabyte in float32: what a core's own cache holds

Risks = NDArray[np.float64]
Gates = NDArray[np.bool_]


def rescore(bundle: Bundle, activation_ND: NDArray[np.float16], modality_N: NDArray[np.str_]) -> tuple[Risks, Gates]:
    """Risk and gate of every row, (N,) each, as the bundle's probe and thresholds have them."""
    return Rescorer(bundle)(activation_ND, modality_N)


class Rescorer:
    """A bundle made ready to read many blocks of rows, one thread at a time.

    The probe reads what float16 left of an activation, so a risk differs from the one that was measured by about a
    thousandth of what it depends on; a NaN opens the gate.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._probe = bundle, bundle.probe
        # The scale goes into the weights; the mean may not, for of a constant feature both are large and cancel.
        self._weight_DH = (bundle.probe.inner_weight / bundle.probe.scale).T.contiguous()
        self._wide_ND = torch.empty(_ROWS_AT_ONCE, len(bundle.probe.mean))

    def __call__(self, activation_ND: NDArray[np.float16], modality_N: NDArray[np.str_]) -> tuple[Risks, Gates]:
        """As `rescore`."""
        risk_N = self._risks(torch.from_numpy(activation_ND)).double()
        return risk_N.numpy(), gate_is_open(risk_N, self._thresholds(modality_N)).numpy()

    def _thresholds(self, modality_N: NDArray[np.str_]) -> Tensor:
        """(N,) float64."""
        threshold_N = np.full(len(modality_N), np.nan)  # no risk is below that of an unknown kind: its gate opens
        for modality in Modality:
            threshold_N[modality_N == modality.value] = self._bundle.threshold(modality)
        return torch.from_numpy(threshold_N)

    def _risks(self, activation_ND: Tensor) -> Tensor:
        """As `Probe.risk`, but rows are widened a few at a time: in one go, memory would be the slowest part."""
        probe, risk_N = self._probe, torch.empty(len(activation_ND))
        for start in range(0, len(activation_ND), _ROWS_AT_ONCE):
            half_ND = activation_ND[start : start + _ROWS_AT_ONCE]
            centred_ND = self._wide_ND[: len(half_ND)].copy_(half_ND).sub_(probe.mean)
            inner_NH = torch.addmm(probe.inner_bias, centred_ND, self._weight_DH).relu_()
            logit_N = (inner_NH @ probe.outer_weight + probe.outer_bias) / probe.temperature
            risk_N[start : start + _ROWS_AT_ONCE] = torch.sigmoid(logit_N)
        return risk_N
