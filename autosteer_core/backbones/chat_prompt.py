"""One encoded item, and the pictures of several put into one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Token ids with the picture placeholders expanded, and the tensors that fill them, by the model's own names."""

    ids: list[int]
    pictures: Mapping[str, Tensor] = field(default_factory=dict)

    def extended(self, ids: list[int]) -> "ChatPrompt":
        """The same pictures, more tokens."""
        return replace(self, ids=self.ids + ids)


def stack_pictures(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Pictures of all rows along the first dimension, padded with zeros to a common shape; nothing without any."""
    names = sorted({name for row in rows for name in row})
    return {name: _padded_together([row[name] for row in rows if name in row]) for name in names}


def _padded_together(tensors: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    gaps = [
        [edge for have, want in zip(tensor.shape[:0:-1], shape[::-1], strict=True) for edge in (0, want - have)]
        for tensor in tensors
    ]
    return torch.cat([nn.functional.pad(tensor, gap) for tensor, gap in zip(tensors, gaps, strict=True)])
