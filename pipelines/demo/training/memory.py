"""What speaks to the language model: the tower's memory, the projector and the newline."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Memory(nn.Module):
    """What is trained: a vector per token of a name and per filler, the projector, the newline."""

    index: Tensor

    def __init__(self, index_NS: Tensor, hidden: int, width: int) -> None:
        super().__init__()
        self.register_buffer("index", index_NS)
        self.table = nn.Parameter(torch.randn(int(index_NS.max()) + 1, hidden))
        self.linear_1, self.linear_2 = nn.Linear(hidden, width), nn.Linear(width, width)
        self.newline = nn.Parameter(torch.zeros(width))

    def values(self) -> Tensor:
        """(entry, slot, hidden): what the tower will hold."""
        return self.table[self.index]

    def project(self, values: Tensor) -> Tensor:
        """As Transformers' multimodal projector."""
        projected: Tensor = self.linear_2(F.gelu(self.linear_1(values)))
        return projected

    def picture(self, base: Tensor, tile: Tensor) -> Tensor:
        """Ten vectors in the order of `pack_image_features`: base, then the tile's rows, each with a newline."""
        base, tile = self.project(base), self.project(tile)
        line = self.newline.expand(len(base), 1, -1)
        return torch.cat([base, tile[:, :2], line, tile[:, 2:], line], 1)


def warm_start(memory: Memory, targets: Tensor, steps: int = 700) -> None:
    """Fit table and projector to the embeddings of the texts; no picture is needed for this."""
    _, _, axes = torch.pca_lowrank(targets, q=memory.table.shape[-1], niter=4)
    coordinates = (targets - targets.mean(0)) @ axes
    memory.table.data = coordinates / coordinates.std()
    memory.newline.data = targets.mean(0)
    optimizer = torch.optim.Adam(memory.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for step in range(steps):
        loss = F.mse_loss(memory.project(memory.table), targets) / targets.var()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"warm {step + 1} unexplained {loss.item():.4f}", flush=True)


def drift(memory: Memory, anchors: Tensor) -> Tensor:
    """How far the names have moved from their embeddings; holds the entries that a step does not visit."""
    names, wanted = memory.table[-len(anchors) :], anchors
    return F.mse_loss(memory.project(names), wanted) / wanted.var()
