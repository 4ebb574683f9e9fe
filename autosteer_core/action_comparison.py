"""What an open gate may do, side by side on held-out harmful rows: refused and degenerate answers of each way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.errors import UserMistake
from autosteer_core.evaluation import Rate
from autosteer_core.gate_actions import Refuser
from autosteer_core.judges import is_degenerate, is_refusal
from autosteer_core.request import Request
from autosteer_core.residual_steering import ResidualShift, shifted
from autosteer_core.static_decoder import StaticDecoder
from autosteer_core.values import GateAction

NONE, RESIDUAL, PAPER = "none", "residual", "paper"
STRENGTHS = (0.5, 1.0, 2.0, 4.0)

Respond = Callable[[Sequence[Prompt]], list[Answer]]


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """Shares of answers that refuse, by both keyword judges, and that are broken text."""

    refused: Rate
    degenerate: Rate

    def described(self) -> dict[str, str]:
        """For the card."""
        return {"refused": str(self.refused), "degenerate": str(self.degenerate)}


@dataclass(frozen=True, slots=True)
class Baselines:
    """What is compared beside the bundle's own actions: a shift of the residual stream, the paper's exact form."""

    shift: ResidualShift | None = None
    paper: Bundle | None = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """Rows per batch and the longest answer, in tokens."""

    batch_rows: int = 16
    max_new_tokens: int = 24


def compare_actions(
    backbone: Backbone, bundle: Bundle, harmful: Sequence[Prompt], baselines: Baselines, decoding: Decoding
) -> dict[str, ActionOutcome]:
    """Every way by name, with the gate open for every row: `none`, `steer`, `prefix`, `canned`, and the baselines."""
    longest = decoding.max_new_tokens
    ways: dict[str, Respond] = {NONE: lambda prompts: decode(backbone, prompts, longest)}
    for action in GateAction:
        ways[action.value] = _always(Refuser(backbone, bundle, action), longest)
    if baselines.shift is not None:
        ways[RESIDUAL] = _shifted(backbone, baselines.shift, longest)
    if baselines.paper is not None:
        ways[PAPER] = _always(Refuser(backbone, baselines.paper, GateAction.STEER), longest)
    return {name: _outcome(respond, harmful, decoding) for name, respond in ways.items()}


def clearly_best(outcomes: Mapping[str, ActionOutcome]) -> GateAction:
    """`steer`, unless another action refuses clearly more: its interval lies wholly above.

    A canned text refuses always, so it would win every tie.
    """
    best = max(GateAction, key=lambda action: outcomes[action.value].refused.value)
    clearly = outcomes[best.value].refused.interval[0] > outcomes[GateAction.STEER.value].refused.interval[1]
    return best if clearly else GateAction.STEER


def best_strength(
    backbone: Backbone, shift: ResidualShift, harmful: Sequence[Prompt], decoding: Decoding
) -> ResidualShift:
    """The shift at the strength that makes most of these rows refuse in whole sentences; not the compared rows."""

    def refused(strength: float) -> float:
        outcome = _outcome(_shifted(backbone, shift.times(strength), decoding.max_new_tokens), harmful, decoding)
        return outcome.refused.value - outcome.degenerate.value

    return shift.times(max(STRENGTHS, key=refused))


def _always(refuser: Refuser, longest: int) -> Respond:
    def respond(prompts: Sequence[Prompt]) -> list[Answer]:
        decoder = StaticDecoder(refuser.backbone, len(prompts))
        return decoder.drive([refuser.refuse(Request(prompt, longest)) for prompt in prompts])

    return respond


def _shifted(backbone: Backbone, shift: ResidualShift, max_new_tokens: int) -> Respond:
    def respond(prompts: Sequence[Prompt]) -> list[Answer]:
        with shifted(backbone.blocks, shift, torch.ones(len(prompts), dtype=torch.bool)):
            return decode(backbone, prompts, max_new_tokens)

    return respond


def _outcome(respond: Respond, prompts: Sequence[Prompt], decoding: Decoding) -> ActionOutcome:
    answers = [
        answer
        for start in range(0, len(prompts), decoding.batch_rows)
        for answer in respond(prompts[start : start + decoding.batch_rows])
    ]
    for answer in answers:
        if answer.flaw is not None:
            raise UserMistake(answer.flaw.message)
    texts = [answer.text for answer in answers]
    return ActionOutcome(
        Rate(sum(map(is_refusal, texts)), len(texts)), Rate(sum(map(is_degenerate, texts)), len(texts))
    )
