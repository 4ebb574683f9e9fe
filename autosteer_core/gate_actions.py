"""What an open gate does to its row: steer it, force a refusal's opening, or answer with a fixed text."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.values import GateAction


def respond(
    backbone: Backbone,
    bundle: Bundle,
    action: GateAction,
    prompts: Sequence[Prompt],
    gates: Sequence[bool],
    max_new_tokens: int,
) -> list[Answer]:
    """One answer per prompt, in order; closed gates always get the model's own answer."""
    if action is GateAction.STEER:
        return _steer(backbone, bundle, prompts, gates, max_new_tokens)
    opening = bundle.refusal if action is GateAction.CANNED else _opening(bundle.refusal)
    opening_ids = backbone.tokenizer(opening, add_special_tokens=False)["input_ids"]
    if action is GateAction.CANNED:
        refused = [Answer(bundle.refusal, tuple(opening_ids), "canned")] * sum(gates)
    else:
        open_prompts = [prompt.extended(opening_ids) for prompt in _where(prompts, gates, True)]
        steered = _steer(backbone, bundle, open_prompts, [True] * len(open_prompts), max_new_tokens)
        refused = [
            replace(answer, text=f"{opening} {answer.text}", ids=(*opening_ids, *answer.ids)) for answer in steered
        ]
    answered = _steer(backbone, bundle, _where(prompts, gates, False), [False] * gates.count(False), max_new_tokens)
    return merge(gates, refused, answered)


def merge(gates: Sequence[bool], if_open: Sequence[Answer], if_closed: Sequence[Answer]) -> list[Answer]:
    """Put answers of open and closed rows back into the order of `gates`."""
    opened, closed = iter(if_open), iter(if_closed)
    return [next(opened) if gate else next(closed) for gate in gates]


def _steer(
    backbone: Backbone, bundle: Bundle, prompts: Sequence[Prompt], gates: Sequence[bool], max_new_tokens: int
) -> list[Answer]:
    if not prompts:
        return []
    gate_N = torch.tensor(list(gates), device=bundle.head.down.device)
    return decode(backbone, prompts, max_new_tokens, bundle.head, gate_N)


def _opening(refusal: str) -> str:
    """The first words of the refusal: enough to commit the model, short enough to let it go on by itself."""
    return " ".join(refusal.split()[:4])


def _where(prompts: Sequence[Prompt], gates: Sequence[bool], wanted: bool) -> list[Prompt]:
    return [prompt for prompt, gate in zip(prompts, gates, strict=True) if gate is wanted]
