"""Steer some rows of a batch: an edit before the output matrix, active only inside a `with`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.refusal_head import RefusalHead


@dataclass(slots=True)
class SteerRecord:
    """Forward passes in which each row was edited, (N,) int64 on the model's device."""

    steered_passes: Tensor


@contextmanager
def steered(output_matrix: nn.Module, head: RefusalHead, gate_N: Tensor) -> Iterator[SteerRecord]:
    """Edit the hidden states of rows whose gate is True on their way into the output matrix.

    A row is edited in its first `head.tokens` passes, one a token of its answer, or in all of them. Gate and count
    are device tensors, so no token waits for the host, and the KV cache is never touched.

    Example:
        >>> with steered(backbone.head, bundle.head, gate_is_open(risk_N, threshold)) as record:
        ...     backbone.model.generate(**inputs)
    """
    record = SteerRecord(torch.zeros_like(gate_N, dtype=torch.int64))

    def edit(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        edited_N = gate_N if head.tokens is None else gate_N & (record.steered_passes < head.tokens)
        record.steered_passes += edited_N
        return (head.steer(args[0], edited_N), *args[1:])

    handle = output_matrix.register_forward_pre_hook(edit)
    try:
        yield record
    finally:
        handle.remove()
