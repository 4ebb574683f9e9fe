"""The probe: the activations of its sites in, a calibrated risk out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Probe:
    """Standardise, d-64-1 ReLU MLP, temperature, sigmoid (AutoSteer eq. 10, trained on plain logits).

    Shapes: `mean` and `scale` (d,), `inner_weight` (h, d), `inner_bias` (h,), `outer_weight` (h,).
    """

    mean: Tensor
    scale: Tensor
    inner_weight: Tensor
    inner_bias: Tensor
    outer_weight: Tensor
    outer_bias: Tensor
    temperature: Tensor

    def logit(self, activation_ND: Tensor) -> Tensor:
        """Harm logit per row, shape (N,), float32 and divided by the temperature."""
        standard_ND = (activation_ND.float() - self.mean) / self.scale
        inner_NH = torch.relu(standard_ND @ self.inner_weight.T + self.inner_bias)
        return (inner_NH @ self.outer_weight + self.outer_bias) / self.temperature

    def risk(self, activation_ND: Tensor) -> Tensor:
        """Calibrated probability of harm per row, shape (N,); NaN activations give NaN, never a low risk."""
        return torch.sigmoid(self.logit(activation_ND))

    def measure(self, activation_ND: Tensor) -> "list[Measured]":
        """The risk of every row beside what it was read from; activations may lie on another device."""
        risks = self.risk(activation_ND.to(self.mean.device)).tolist()
        return [Measured(risk, activation_D) for risk, activation_D in zip(risks, activation_ND, strict=True)]

    def tensors(self) -> dict[str, Tensor]:
        """The weights by field name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> "Probe":
        """The same probe on another device; float32 always."""
        return Probe(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Probe":
        """Inverse of `tensors`; a missing or extra name is a TypeError."""
        return cls(**tensors)


@dataclass(frozen=True, slots=True)
class Measured:
    """A risk, and the activation (d,) that a probe read it from."""

    risk: float
    activation_D: Tensor


def gate_is_open(risk_N: Tensor, threshold: float | Tensor) -> Tensor:
    """Boolean per row: open at risk >= threshold, and also where the risk is NaN (fail closed)."""
    return ~(risk_N < threshold)
