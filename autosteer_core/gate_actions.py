"""What an open gate does to its row: steer it, force a refusal's opening, or answer with a fixed text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.second_look import looking
from autosteer_core.values import GateAction

_OPENING_WORDS = 4  # enough to commit the model, short enough to let it go on by itself

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Responder:
    """Answers batches under one gate action; `second_look` also reads what it decodes, where the bundle can."""

    backbone: Backbone
    bundle: Bundle
    action: GateAction
    max_new_tokens: int
    second_look: bool = False

    def respond(
        self, prompts: Sequence[Prompt], gates: Sequence[bool], groups: Sequence[str] | None = None
    ) -> list[Answer]:
        """One answer per prompt, in order; closed gates always get the model's own answer.

        `groups` finds the wording of canned texts and forced openings, where the bundle has several.
        """
        if self.action is GateAction.STEER:
            return self._decode(prompts, gates)
        wordings = [self.bundle.refusal_for(group) for group in groups or [""] * len(prompts)]
        refuse = self._canned if self.action is GateAction.CANNED else self._opened
        refused = refuse(_where(prompts, gates, True), _where(wordings, gates, True))
        answered = self._decode(_where(prompts, gates, False), [False] * list(gates).count(False))
        return merge(gates, refused, answered)

    def _canned(self, prompts: Sequence[Prompt], wordings: Sequence[str]) -> list[Answer]:
        return [Answer(wording, tuple(self._ids(wording)), "canned") for wording in wordings]

    def _opened(self, prompts: Sequence[Prompt], wordings: Sequence[str]) -> list[Answer]:
        openings = [" ".join(wording.split()[:_OPENING_WORDS]) for wording in wordings]
        opened = [prompt.extended(self._ids(opening)) for prompt, opening in zip(prompts, openings, strict=True)]
        return [
            replace(answer, text=f"{opening} {answer.text}", ids=(*self._ids(opening), *answer.ids))
            for answer, opening in zip(self._decode(opened, [True] * len(opened)), openings, strict=True)
        ]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, prompts: Sequence[Prompt], gates: Sequence[bool]) -> list[Answer]:
        if not prompts:
            return []
        gate_N = torch.tensor(list(gates), device=self.bundle.head.down.device)
        look = self.bundle.second_look if self.second_look and not all(gates) else None
        reading = None if look is None else looking(self.backbone, self.bundle.layers, look)
        return decode(self.backbone, prompts, self.max_new_tokens, self.bundle.head, gate_N, reading)


def merge(gates: Sequence[bool], if_open: Sequence[Answer], if_closed: Sequence[Answer]) -> list[Answer]:
    """Put answers of open and closed rows back into the order of `gates`."""
    opened, closed = iter(if_open), iter(if_closed)
    return [next(opened) if gate else next(closed) for gate in gates]


def _where(values: Sequence[T], gates: Sequence[bool], wanted: bool) -> list[T]:
    return [value for value, gate in zip(values, gates, strict=True) if gate is wanted]
