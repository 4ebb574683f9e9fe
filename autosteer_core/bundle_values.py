"""The numbers in a bundle's tensors: finite, not all zero where zeros would switch something off, of a usual size."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autosteer_core.bundle_card import AGAIN
from autosteer_core.errors import BundleRefused


@dataclass(frozen=True, slots=True)
class Limits:
    """`largest` bounds every value's size, `norm` the square root of the sum of squares; `least` every value."""

    largest: float
    norm: float
    least: float = -float("inf")
    may_be_zero: bool = False


# Calibration of the demo model gives norms of 0.4 to 15 for fitted weights, and a full-rank head of width d starts at
# sqrt(d), 90 for 8,192. Means and scales are a model's own activations: 400 for the demo, and Gemma 3 is known to go
# beyond the 65,504 of float16. Temperatures are kept within exp(3).
_WEIGHT = Limits(largest=1e4, norm=1e4)
_BIAS = Limits(largest=1e4, norm=1e4, may_be_zero=True)
_LIMITS = {
    "mean": Limits(largest=1e7, norm=1e9, may_be_zero=True),
    "scale": Limits(largest=1e7, norm=1e9, least=1e-7),  # it is divided by; calibration keeps it above 1e-6
    "inner_weight": _WEIGHT,
    "inner_bias": _BIAS,
    "outer_weight": _WEIGHT,
    "outer_bias": _BIAS,
    "temperature": Limits(largest=1e3, norm=1e3, least=1e-3),
    "down": _WEIGHT,
    "up": _WEIGHT,
}


def check_values(tensors: Mapping[str, Tensor]) -> None:
    """Raise BundleRefused with the tensor, the first place and the number of values that are wrong."""
    for name, tensor in tensors.items():
        limits = _LIMITS[name.rpartition(".")[2]]
        _refuse_where(~torch.isfinite(tensor), name, "NaN or infinite")
        _refuse_where(tensor.abs() > limits.largest, name, f"larger than {limits.largest:g}")
        _refuse_where(tensor < limits.least, name, f"below {limits.least:g}")
        norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
        if norm > limits.norm:
            raise _refused(f"tensor {name} has norm {norm:.3g}, expected at most {limits.norm:g}")
        if norm == 0 and not limits.may_be_zero:
            raise _refused(f"tensor {name} is all zero, {tensor.numel()} values: it would decide or change nothing")


def _refuse_where(wrong: Tensor, name: str, what: str) -> None:
    count = int(wrong.sum())
    if count:
        first = wrong.reshape(wrong.shape or (1,)).nonzero()[0].tolist()
        raise _refused(f"tensor {name} holds {count} of {wrong.numel()} values that are {what}, the first at {first}")


def _refused(what: str) -> BundleRefused:
    return BundleRefused(f"weights.safetensors: {what}: {AGAIN}", "E_ARTIFACT_VALUES")
