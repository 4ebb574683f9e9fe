"""Steering in the residual stream, as a baseline to compare with: a direction added where a block begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ResidualShift:
    """What is added, (d,), to the stream that enters block `layer` (l >= 1)."""

    layer: int
    shift_D: Tensor

    def times(self, strength: float) -> "ResidualShift":
        """The same direction, longer or shorter."""
        return ResidualShift(self.layer, self.shift_D * strength)


def difference_of_means(layer: int, towards_ND: Tensor, away_ND: Tensor) -> ResidualShift:
    """From the mean of one set of last-token activations to that of another.

    Harmful minus benign is the direction of Arditi et al. (2024, "Refusal in language models is mediated by a single
    direction"), who add it at full length, strength 1.
    """
    return ResidualShift(layer, towards_ND.float().mean(dim=0) - away_ND.float().mean(dim=0))


@contextmanager
def shifted(blocks: nn.ModuleList, shift: ResidualShift, gate_N: Tensor) -> Iterator[None]:
    """Add the shift at every token of the rows whose gate is True; the others come back bit for bit.

    Unlike the Refusal Head it changes the KV cache of the rows it touches.

    Raises:
        IndexError: no block has this layer's stream as its output.
    """
    if not 1 <= shift.layer <= len(blocks):
        raise IndexError(f"layer {shift.layer} does not exist, expected 1 to {len(blocks)}")

    def edit(block: nn.Module, args: Any, output: Any) -> Any:
        hidden_NTD = output[0] if isinstance(output, tuple) else output
        moved_NTD = hidden_NTD + shift.shift_D.to(hidden_NTD)
        edited_NTD = torch.where(gate_N.to(hidden_NTD.device)[:, None, None], moved_NTD, hidden_NTD)
        return (edited_NTD, *output[1:]) if isinstance(output, tuple) else edited_NTD

    handle = blocks[shift.layer - 1].register_forward_hook(edit)
    try:
        yield
    finally:
        handle.remove()
