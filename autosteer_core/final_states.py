"""The frozen model's normalised final states along given answers: all that a steered output matrix learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.decoding import before_placeholder, decode, end_id

BATCH_ROWS = 16


@dataclass(frozen=True, slots=True)
class States:
    """Final hidden states (M, d), the token that should follow each (M,), and how many belong to each row."""

    hidden_MD: Tensor
    target_M: Tensor
    lengths: tuple[int, ...]

    def rows(self) -> list[tuple[Tensor, Tensor]]:
        """States and targets of each row by itself."""
        return list(zip(self.hidden_MD.split(self.lengths), self.target_M.split(self.lengths), strict=True))


def final_states(backbone: Backbone, prompts: Sequence[Prompt], continuations: Sequence[list[int]]) -> States:
    """The state before each token of each prompt's continuation, float32 on the CPU."""
    extended = [prompt.extended(ids) for prompt, ids in zip(prompts, continuations, strict=True)]
    return last_states(backbone, extended, [len(ids) for ids in continuations])


@torch.inference_mode()
def last_states(backbone: Backbone, prompts: Sequence[Prompt], counts: Sequence[int]) -> States:
    """The state before each of the last `counts[n]` tokens of prompt n, float32 on the CPU."""
    hidden: list[Tensor] = []
    for start in range(0, len(prompts), BATCH_ROWS):
        rows = range(start, min(start + BATCH_ROWS, len(prompts)))
        inputs = backbone.collate([prompts[row] for row in rows])
        output_NTD = backbone.body(**inputs, use_cache=False).last_hidden_state
        # Rows are padded on the left.
        hidden += [
            state_TD[-counts[row] - 1 : -1].float().cpu() for state_TD, row in zip(output_NTD, rows, strict=True)
        ]
    targets = [token for prompt, count in zip(prompts, counts, strict=True) for token in prompt.ids[-count:]]
    return States(torch.cat(hidden).clone(), torch.tensor(targets), tuple(counts))


def answer_states(backbone: Backbone, prompts: Sequence[Prompt], tokens: int) -> States:
    """States along the first `tokens` of the model's own greedy answers."""
    answers = [
        before_placeholder(backbone, answer.ids) or [end_id(backbone)]
        for start in range(0, len(prompts), BATCH_ROWS)
        for answer in decode(backbone, prompts[start : start + BATCH_ROWS], tokens)
    ]
    return final_states(backbone, prompts, answers)


@torch.inference_mode()
def mean_losses(backbone: Backbone, prompts: Sequence[Prompt], text: str) -> Tensor:
    """How unlikely the model finds a text after each prompt: mean cross-entropy of its tokens, (N,)."""
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    states = final_states(backbone, prompts, [ids] * len(prompts))
    matrix_VD = output_weight(backbone)
    return torch.stack(
        [cross_entropy(state_TD.to(matrix_VD) @ matrix_VD.T, target_T.to(matrix_VD.device)).cpu()
         for state_TD, target_T in states.rows()]
    )  # fmt: skip


def output_weight(backbone: Backbone) -> Tensor:
    """The output matrix E, (V, d), float32 on the model's device."""
    output_matrix: Any = backbone.head
    weight: Tensor = output_matrix.weight.detach()
    return weight.float()
