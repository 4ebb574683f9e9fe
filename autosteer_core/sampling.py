"""Sampling that belongs to its row: one random number a token, from a seed of run and item."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from autosteer_core.errors import UserMistake

COLDEST, HOTTEST = 0.01, 100.0  # beyond them a softmax in float32 says nothing more


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
        in_range = COLDEST <= self.temperature <= HOTTEST and 0 < self.top_p <= 1
        if not in_range or (self.top_k is not None and self.top_k < 1):
            raise UserMistake(
                f"sampling has temperature {self.temperature}, top_p {self.top_p}, top_k {self.top_k}: expected a "
                f"temperature from {COLDEST} to {HOTTEST}, top_p above 0 and at most 1, top_k of 1 or more"
            )

    def seed(self, item_id: str) -> int:
        """The same on every machine and in every retry."""
        return int.from_bytes(hashlib.sha256(f"{self.run_seed} {item_id}".encode()).digest()[:8])

    def draw(self, logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        """One token id per row, (N,): where `uniform_N` in [0, 1) falls when the kept tokens lie in order of id.

        By id, because the order by likelihood changes with rounding, and rounding with the batch.
        """
        share_NK, ids_NK = self._kept(torch.softmax(logits_NV.float() / self.temperature, dim=1))
        until_NK = share_NK.cumsum(dim=1, dtype=torch.float64)
        whole_N1 = until_NK[:, -1:].contiguous()
        place_N1 = torch.searchsorted(until_NK, uniform_N[:, None] * whole_N1, right=True)
        # Rounding must not draw beyond the last kept token, NaN not beyond the vocabulary.
        last_N1 = torch.searchsorted(until_NK, whole_N1).clamp(max=until_NK.shape[1] - 1)
        return ids_NK.gather(1, torch.minimum(place_N1, last_N1))[:, 0]

    def _kept(self, share_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Shares and token ids in order of id, (N, K) each; tokens that may not be drawn are left out or share 0."""
        all_NV = torch.arange(share_NV.shape[1], device=share_NV.device).expand_as(share_NV)
        if self.top_k is None and self.top_p == 1:
            return share_NV, all_NV
        kept = min(self.top_k or share_NV.shape[1], share_NV.shape[1])
        likeliest_NK, ids_NK = torch.topk(share_NV, kept, dim=1)
        until_NK = likeliest_NK.cumsum(dim=1)
        # The likeliest token always stays, whatever top_p.
        beyond_NK = until_NK - likeliest_NK >= self.top_p * until_NK[:, -1:]
        likeliest_NK = likeliest_NK.masked_fill(beyond_NK, 0.0)
        if self.top_k is None:
            return torch.zeros_like(share_NV).scatter(1, ids_NK, likeliest_NK), all_NV
        ids_NK, order_NK = ids_NK.sort(dim=1)
        return likeliest_NK.gather(1, order_NK), ids_NK
