"""How likely the model found each token that it chose: before penalties, temperature, top_p and top_k."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria


def logprobs_of(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    """Natural logarithm of each row's probability of its token, (N,) float32."""
    return torch.log_softmax(logits_NV.float(), dim=1).gather(1, ids_N[:, None])[:, 0]


class LogprobRecord(StoppingCriteria):
    """Stops nothing: hears of every token that `generate` chose; readings stay on the model's device until asked for.

    `generate` can return its logits, but keeps those of all tokens: gigabytes for one batch of long answers.
    """

    def __init__(self) -> None:
        self._logits_NV: Tensor | None = None
        self._taken: list[Tensor] = []

    def hear(self, module: nn.Module, args: Any, output: Any) -> None:
        """A hook after the model's forward pass."""
        self._logits_NV = output.logits[:, -1]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Shape (N,), all False."""
        assert self._logits_NV is not None
        self._taken.append(logprobs_of(self._logits_NV, input_ids[:, -1]))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def of(self, tokens: Sequence[int]) -> list[tuple[float, ...]]:
        """The first `tokens[n]` readings of each row n."""
        rows = torch.stack(self._taken, dim=1).tolist()
        return [tuple(row[:count]) for row, count in zip(rows, tokens, strict=True)]


@contextmanager
def logprobs_heard(model: nn.Module) -> Iterator[LogprobRecord]:
    """A record of one `generate` call, to be given to it as a stopping criterion."""
    record = LogprobRecord()
    handle = model.register_forward_hook(record.hear)
    try:
        yield record
    finally:
        handle.remove()
