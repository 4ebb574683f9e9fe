"""The second look: what a half-finished answer says about a prompt whose gate stayed closed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.activations import recorded
from autosteer_core.backbones.base import Backbone
from autosteer_core.probe import Probe, gate_is_open


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A probe for the latest token of a growing answer, read every `every` tokens; open at risk >= `threshold`."""

    probe: Probe
    threshold: float
    every: int

    def opens_after(self, risks: Sequence[float]) -> int | None:
        """Tokens after which a row's readings open the gate, None if never; a NaN reading opens it."""
        opened = gate_is_open(torch.tensor(list(risks), dtype=torch.float64), self.threshold).tolist()
        return (opened.index(True) + 1) * self.every if any(opened) else None


@dataclass(slots=True)
class Readings:
    """Risk of every row, (N,), after `every`, 2 `every`, ... tokens; on the model's device until asked for."""

    every: int
    taken: list[Tensor] = field(default_factory=list)

    def of(self, tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """Each row's readings, in order: as many as its own tokens allow, because finished rows are read on."""
        rows = torch.stack(self.taken, dim=1).tolist() if self.taken else [[]] * len(tokens)
        return [tuple(row[: count // self.every]) for row, count in zip(rows, tokens, strict=True)]


@contextmanager
def looking(backbone: Backbone, layers: Sequence[int], look: SecondLook) -> Iterator[Readings]:
    """Read the growing answers of one `generate` call, which makes its first pass over the prompts.

    Nothing waits for the host: the readings stay on the device until the batch is decoded. The token that ends an
    answer, or the last of the longest one, is never fed and so never read.
    """
    readings, passes = Readings(look.every), 0
    with recorded(backbone.blocks, layers) as activations:

        def read(module: nn.Module, args: Any) -> None:
            nonlocal passes
            # Pass p feeds the p-th token of the answer; pass 0 feeds the prompt.
            if passes and passes % look.every == 0:
                seen_ND = torch.cat([activations[layer].to(look.probe.mean.device) for layer in layers], dim=-1)
                readings.taken.append(look.probe.risk(seen_ND))
            passes += 1

        handle = backbone.head.register_forward_pre_hook(read)
        try:
            yield readings
        finally:
            handle.remove()
