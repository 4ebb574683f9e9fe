"""Fit the Refusal Head on the frozen model's own final states: refuse on risky rows, change nothing on others."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.decoding import end_id
from autosteer_core.final_states import States, answer_states, final_states, mean_losses, output_weight
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.refusals import Wordings


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """`keep` weighs the KL term on benign rows against the refusal loss; `epsilon` is the paper's 0.1.

    `jitter` trains at epsilon times a uniform factor in [1 - jitter, 1 + jitter], so that the head still works at
    another strength. `tokens` trains and applies the edit on the first tokens of an answer only.
    """

    rank: int = 32
    epsilon: float = 0.1
    keep: float = 0.3
    jitter: float = 0.0
    tokens: int | None = None
    wordings: Wordings = field(default_factory=Wordings)
    learning_rate: float = 3e-2
    steps: int = 120
    positions: int = 128
    benign_tokens: int = 12


def fit_head(
    backbone: Backbone,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    seed: int,
    options: HeadOptions | None = None,
    groups: Sequence[str] | None = None,
) -> RefusalHead:
    """Cross-entropy on refusal tokens only (the prompt is masked), plus KL to the base model on benign answers.

    The edit never reaches the KV cache, so the frozen model's final states can be computed once and training
    needs no further forward pass of it. `groups` names each harmful prompt's group, for wordings of its own.
    """
    options = options or HeadOptions()
    refusing = refusal_states(backbone, harmful, groups or [""] * len(harmful), options)
    keeping = answer_states(backbone, benign, min(options.benign_tokens, options.tokens or options.benign_tokens))
    head = RefusalHead.zero(refusing.hidden_MD.shape[1], options.rank, options.epsilon, seed)
    return _optimise(head, output_weight(backbone), refusing, keeping, seed, options)


def _optimise(
    head: RefusalHead, matrix_VD: Tensor, refusing: States, keeping: States, seed: int, options: HeadOptions
) -> RefusalHead:
    start = head.to(matrix_VD.device)
    down, up = start.down.requires_grad_(), start.up.requires_grad_()
    optimiser = torch.optim.AdamW([down, up], options.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.steps):
        hidden_MD, target_M = _sample(refusing, options.positions, generator, matrix_VD.device)
        kept_MD, _ = _sample(keeping, options.positions // 2, generator, matrix_VD.device)
        strength = replace(start, epsilon=options.epsilon * _factor(options.jitter, generator))
        refuse = cross_entropy(_steer(strength, hidden_MD) @ matrix_VD.T, target_M)
        keep = _divergence(kept_MD @ matrix_VD.T, _steer(strength, kept_MD) @ matrix_VD.T)
        optimiser.zero_grad()
        (refuse + options.keep * keep).backward()
        optimiser.step()
        schedule.step()
    return RefusalHead(down.detach().cpu(), up.detach().cpu(), options.epsilon, options.tokens)


def _factor(jitter: float, generator: torch.Generator) -> float:
    """Drawn only where it matters, so that a head without jitter does not depend on it."""
    return 1 + jitter * (2 * float(torch.rand((), generator=generator)) - 1) if jitter else 1.0


def _steer(head: RefusalHead, hidden_MD: Tensor) -> Tensor:
    gate_M = torch.ones(len(hidden_MD), dtype=torch.bool, device=hidden_MD.device)
    return head.steer(hidden_MD[:, None], gate_M)[:, 0]


def _divergence(base_MV: Tensor, steered_MV: Tensor) -> Tensor:
    return kl_div(log_softmax(steered_MV, -1), log_softmax(base_MV, -1), reduction="batchmean", log_target=True)


def _sample(states: States, count: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    rows = torch.randint(len(states.target_M), (count,), generator=generator)
    return states.hidden_MD[rows].to(device), states.target_M[rows].to(device)


def refusal_states(
    backbone: Backbone, prompts: Sequence[Prompt], groups: Sequence[str], options: HeadOptions
) -> States:
    """States along one refusal per prompt, its sentences in turn, including the token that ends it."""
    stop = end_id(backbone)
    targets = []
    for row, (group, language) in enumerate(zip(groups, _languages(backbone, prompts, options), strict=True)):
        sentences = options.wordings.of(group, language)
        sentence = sentences[row % len(sentences)]
        ids = [*backbone.tokenizer(sentence, add_special_tokens=False)["input_ids"], stop]
        targets.append(ids[: options.tokens])
    return final_states(backbone, prompts, targets)


def _languages(backbone: Backbone, prompts: Sequence[Prompt], options: HeadOptions) -> list[str]:
    """The language in which the model itself would most likely refuse each prompt: as a rule the asker's own."""
    languages = options.wordings.languages
    if len(languages) == 1:
        return [languages[0]] * len(prompts)
    losses = [mean_losses(backbone, prompts, options.wordings.of("", language)[0]) for language in languages]
    return [languages[place] for place in torch.stack(losses).argmin(dim=0).tolist()]
