"""Rows that say the same, by the cosine of their activations: a flood of copies is one row."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WIDTH = 128  # projected to so many columns, a cosine of 0.99 is off by 0.002 (Johnson and Lindenstrauss, 1984)
_BLOCK = 1024
_SEED = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What activations (N, D) are seen against: the mean and scale (D,) of many, and few axes of chance (D, 128).

    All activations of a model share large constant parts, so that without a frame any two rows look alike.
    """

    mean_D: Tensor
    scale_D: Tensor
    axes_DK: Tensor | None

    @classmethod
    def of(cls, activation_ND: Tensor) -> "Frame":
        """The frame of these rows."""
        wide = activation_ND.shape[1]
        generator = torch.Generator().manual_seed(_SEED)
        axes_DK = torch.randn(wide, _WIDTH, generator=generator) if wide > _WIDTH else None
        return cls(activation_ND.mean(dim=0), activation_ND.std(dim=0).clamp_min(1e-6), axes_DK)

    def directions(self, activation_ND: Tensor) -> Tensor:
        """Unit vectors (N, at most 128) of what sets each row apart; a block at a time, as there may be many."""
        return torch.cat([self._directions(block_ND) for block_ND in activation_ND.split(_BLOCK)])

    def _directions(self, activation_ND: Tensor) -> Tensor:
        standard_ND = (activation_ND - self.mean_D) / self.scale_D
        if self.axes_DK is not None:
            standard_ND = standard_ND @ self.axes_DK
        return torch.nn.functional.normalize(standard_ND, dim=1)


def leaders(direction_ND: Tensor, cosine: float) -> NDArray[np.int64]:
    """For each row the earliest row that leads it, itself where none is so near: shape (N,).

    A leader is near no earlier leader. Rows are compared with leaders only, so a flood costs next to nothing.
    """
    led_N = np.arange(len(direction_ND))
    chosen = torch.empty(0, dtype=torch.long)
    for start in range(0, len(direction_ND), _BLOCK):
        rows = torch.arange(start, min(start + _BLOCK, len(direction_ND)))
        near = direction_ND[rows] @ direction_ND[chosen].T >= cosine
        if near.shape[1]:
            found = near.any(dim=1)
            led_N[rows[found]] = chosen[near[found].int().argmax(dim=1)]
            rows = rows[~found]
        own = _within(direction_ND[rows], cosine)
        led_N[rows] = rows[own]
        chosen = torch.cat([chosen, rows[own == np.arange(len(own))]])
    return led_N


def _within(direction_ND: Tensor, cosine: float) -> NDArray[np.int64]:
    """The same in one block, row by row."""
    near = (direction_ND @ direction_ND.T >= cosine).numpy()
    led_N = np.arange(len(near))
    leads_N = np.zeros(len(near), bool)
    for row in range(len(near)):
        before = near[row, :row] & leads_N[:row]
        if before.any():
            led_N[row] = int(before.argmax())
        else:
            leads_N[row] = True
    return led_N


def nearest(direction_ND: Tensor, among_MD: Tensor, cosine: float) -> NDArray[np.int64]:
    """For each row the row of `among_MD` that is nearest, -1 where none is so near: shape (N,)."""
    found = np.full(len(direction_ND), -1)
    for start in range(0, len(direction_ND) if len(among_MD) else 0, _BLOCK):
        best = (direction_ND[start : start + _BLOCK] @ among_MD.T).max(dim=1)
        found[start : start + _BLOCK] = np.where(best.values.numpy() >= cosine, best.indices.numpy(), -1)
    return found
