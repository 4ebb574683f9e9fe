"""Fit the Refusal Head on the frozen model's own final states: refuse on risky rows, change nothing on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.decoding import decode, stop_ids
from autosteer_core.refusal_head import RefusalHead

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't help with this request because it could cause harm.",
    "Sorry, I won't assist with that. It could hurt someone.",
    "I'm not able to help with that request.",
)


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """`keep` weighs the KL term on benign rows against the refusal loss; `epsilon` is the paper's 0.1."""

    rank: int = 32
    epsilon: float = 0.1
    keep: float = 0.3
    learning_rate: float = 3e-2
    steps: int = 120
    positions: int = 128
    benign_tokens: int = 12


@dataclass(frozen=True, slots=True)
class States:
    """Final hidden states (M, d) and the token that should follow each, (M,)."""

    hidden_MD: Tensor
    target_M: Tensor


def fit_head(
    backbone: Backbone,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    seed: int,
    options: HeadOptions | None = None,
) -> RefusalHead:
    """Cross-entropy on refusal tokens only (the prompt is masked), plus KL to the base model on benign answers.

    The edit never reaches the KV cache, so the frozen model's final states can be computed once and training
    needs no further forward pass of it.
    """
    options = options or HeadOptions()
    refusing = refusal_states(backbone, harmful)
    keeping = answer_states(backbone, benign, options.benign_tokens)
    head = RefusalHead.zero(refusing.hidden_MD.shape[1], options.rank, options.epsilon, seed)
    output_matrix: Any = backbone.head
    matrix_VD = output_matrix.weight.detach().float()
    return _optimise(head, matrix_VD, refusing, keeping, seed, options)


def _optimise(
    head: RefusalHead, matrix_VD: Tensor, refusing: States, keeping: States, seed: int, options: HeadOptions
) -> RefusalHead:
    down, up = head.down.requires_grad_(), head.up.requires_grad_()
    optimiser = torch.optim.AdamW([down, up], options.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.steps):
        hidden_MD, target_M = _sample(refusing, options.positions, generator)
        kept_MD, _ = _sample(keeping, options.positions // 2, generator)
        refuse = cross_entropy(_steer(head, hidden_MD) @ matrix_VD.T, target_M)
        keep = _divergence(kept_MD @ matrix_VD.T, _steer(head, kept_MD) @ matrix_VD.T)
        optimiser.zero_grad()
        (refuse + options.keep * keep).backward()
        optimiser.step()
        schedule.step()
    return RefusalHead(down.detach(), up.detach(), options.epsilon)


def _steer(head: RefusalHead, hidden_MD: Tensor) -> Tensor:
    return head.steer(hidden_MD[:, None], torch.ones(len(hidden_MD), dtype=torch.bool))[:, 0]


def _divergence(base_MV: Tensor, steered_MV: Tensor) -> Tensor:
    return kl_div(log_softmax(steered_MV, -1), log_softmax(base_MV, -1), reduction="batchmean", log_target=True)


def _sample(states: States, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    rows = torch.randint(len(states.target_M), (count,), generator=generator)
    return states.hidden_MD[rows], states.target_M[rows]


def refusal_states(backbone: Backbone, prompts: Sequence[Prompt]) -> States:
    """States along one of the refusals per prompt, in turn, including the token that ends it."""
    stop = min(stop_ids(backbone))
    wordings = [[*backbone.tokenizer(text, add_special_tokens=False)["input_ids"], stop] for text in REFUSALS]
    return final_states(backbone, prompts, [wordings[row % len(wordings)] for row in range(len(prompts))])


def answer_states(backbone: Backbone, prompts: Sequence[Prompt], tokens: int) -> States:
    """States along the model's own greedy answers."""
    answers = [
        list(answer.ids) or [min(stop_ids(backbone))]
        for start in range(0, len(prompts), 16)
        for answer in decode(backbone, prompts[start : start + 16], tokens)
    ]
    return final_states(backbone, prompts, answers)


@torch.inference_mode()
def final_states(
    backbone: Backbone, prompts: Sequence[Prompt], continuations: Sequence[list[int]], batch_rows: int = 16
) -> States:
    """The normalised hidden state before each continuation token, float32 on the CPU."""
    hidden: list[Tensor] = []
    for start in range(0, len(prompts), batch_rows):
        rows = range(start, min(start + batch_rows, len(prompts)))
        extended = [prompts[row].extended(continuations[row]) for row in rows]
        output_NTD = backbone.body(**backbone.collate(extended), use_cache=False).last_hidden_state
        for state_TD, row in zip(output_NTD, rows, strict=True):
            hidden.append(state_TD[-len(continuations[row]) - 1 : -1].float().cpu())
    targets = [token for continuation in continuations[: len(prompts)] for token in continuation]
    return States(torch.cat(hidden).clone(), torch.tensor(targets))
