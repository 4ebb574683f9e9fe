"""Sampling that belongs to its row: one random number a token, from a seed of run and item."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from autosteer_core.errors import UserMistake


@dataclass(frozen=True, slots=True)
class Sampling:
    """Draw from the softmax at `temperature`, among the `top_k` likeliest tokens that make up `top_p` of it.

    Raises:
        UserMistake: a value out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    run_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no draw can follow."""
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and (self.top_k is None or self.top_k >= 1)):
            raise UserMistake(
                f"sampling has temperature {self.temperature}, top_p {self.top_p}, top_k {self.top_k}: expected a "
                "temperature above 0, top_p above 0 and at most 1, top_k of 1 or more"
            )

    def seed(self, item_id: str) -> int:
        """The same on every machine and in every retry."""
        return int.from_bytes(hashlib.sha256(f"{self.run_seed} {item_id}".encode()).digest()[:8])

    def draw(self, logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        """One token id per row, (N,): where `uniform_N` in [0, 1) falls among the likeliest tokens first."""
        kept = min(self.top_k or logits_NV.shape[1], logits_NV.shape[1])
        likeliest_NK, ids_NK = torch.topk(logits_NV.float() / self.temperature, kept, dim=1)
        share_NK = torch.softmax(likeliest_NK, dim=1)
        before_NK = share_NK.cumsum(dim=1) - share_NK
        # The likeliest token always stays, whatever top_p.
        share_NK = share_NK.masked_fill(before_NK >= self.top_p, 0.0)
        until_NK = share_NK.cumsum(dim=1)
        place_N = (until_NK <= (uniform_N[:, None] * until_NK[:, -1:])).sum(dim=1)
        last_N = (share_NK > 0).sum(dim=1) - 1  # rounding must not draw beyond the kept tokens
        return ids_NK.gather(1, torch.minimum(place_N, last_N)[:, None])[:, 0]
