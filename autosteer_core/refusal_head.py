"""The Refusal Head: a low-rank edit of the final hidden state, in effect a steered output matrix."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RefusalHead:
    """logits = (h + gate * epsilon * (h A) B^T) E^T with A and B of shape (d, r).

    The same function as the paper's E + epsilon E M with M^T = A B^T (AutoSteer eq. 12-13), about V times
    cheaper, and it never touches the KV cache. `tokens` limits the edit to the first tokens of an answer.
    """

    down: Tensor
    up: Tensor
    epsilon: float
    tokens: int | None = None

    def steer(self, hidden_NTD: Tensor, gate_N: Tensor) -> Tensor:
        """Edited hidden states; rows whose gate is False come back bit for bit."""
        edit_NTD = (hidden_NTD.to(self.down.dtype) @ self.down) @ self.up.T
        steered_NTD = hidden_NTD + self.epsilon * edit_NTD.to(hidden_NTD.dtype)
        return torch.where(gate_N[:, None, None], steered_NTD, hidden_NTD)

    def tensors(self) -> dict[str, Tensor]:
        """The weights by field name."""
        return {"down": self.down, "up": self.up}

    def to(self, device: torch.device | str) -> "RefusalHead":
        """The same head on another device."""
        return replace(self, down=self.down.to(device), up=self.up.to(device))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], epsilon: float, tokens: int | None) -> "RefusalHead":
        """Inverse of `tensors`; a missing or extra name is a TypeError."""
        return cls(**tensors, epsilon=epsilon, tokens=tokens)

    @classmethod
    def zero(cls, width: int, rank: int, epsilon: float, seed: int) -> "RefusalHead":
        """A head that changes nothing yet: random `down`, zero `up` (zero start, unlike the paper)."""
        generator = torch.Generator().manual_seed(seed)
        down = torch.randn(width, rank, generator=generator) / width**0.5
        return cls(down, torch.zeros(width, rank), epsilon)
