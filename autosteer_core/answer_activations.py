"""Activations along given answers, at the tokens where a second look reads them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autosteer_core.activations import recorded, truncated
from autosteer_core.backbones.base import Backbone, Prompt


@torch.inference_mode()
def read_answers(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[int]],
    layers: Sequence[int],
    every: int,
    batch_rows: int = 16,
) -> list[Tensor]:
    """For each prompt the layers side by side after `every`, 2 `every`, ... answer tokens, (cuts, layers * d).

    Attention is causal, so one pass over the whole answer gives what decoding would have seen at each cut. Rows
    share a batch, float32 on the CPU; an answer shorter than `every` has no cuts.
    """
    read: list[Tensor] = []
    with truncated(backbone, max(layers)), recorded(backbone.blocks, layers, lambda hidden_NTD: hidden_NTD) as states:
        for start in range(0, len(prompts), batch_rows):
            rows = range(start, min(start + batch_rows, len(prompts)))
            extended = [prompts[row].extended(list(answers[row])) for row in rows]
            backbone.body(**backbone.collate(extended), use_cache=False)
            for place, row in enumerate(rows):
                read.append(_cuts([states[layer][place] for layer in layers], len(answers[row]), every))
    return read


def _cuts(states_TD: Sequence[Tensor], tokens: int, every: int) -> Tensor:
    """Rows are padded on the left, so the answer's tokens are the last ones."""
    places = [cut - 1 - tokens for cut in range(every, tokens + 1, every)]
    return torch.cat([state_TD[places].float().cpu() for state_TD in states_TD], dim=-1)
