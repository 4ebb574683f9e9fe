"""Logits that are NaN or infinite choose no token: whatever came out would look like an answer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from autosteer_core.values import Flaw

NO_LOGITS = Flaw(
    "E_LOGITS",
    "the model gave no finite logits while it answered: look at the item; where many rows have this, check the "
    "model's weights, or its dtype (float16 overflows where bfloat16 does not)",
)


def are_finite(logits_NV: Tensor) -> Tensor:
    """Whether a row's largest logit is a number, (N,) bool; single tokens may be ruled out by minus infinity."""
    return logits_NV.amax(dim=1).isfinite()


class FiniteRecord(LogitsProcessor):
    """Changes nothing: remembers, on the model's device, which rows of one `generate` call had finite logits."""

    def __init__(self) -> None:
        self._taken: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Tensor) -> Any:
        """The scores as they came."""
        self._taken.append(are_finite(scores))
        return scores

    def of(self, tokens: Sequence[int]) -> list[bool]:
        """Whether the first `tokens[n]` logits of each row n were finite; finished rows are decoded on."""
        rows = torch.stack(self._taken, dim=1).tolist()
        return [all(row[:count]) for row, count in zip(rows, tokens, strict=True)]
