"""Decode padded batches through plain `generate`: what every other way of decoding is compared with."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget, in_batches
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.errors import BadItem
from autosteer_core.request import Request
from autosteer_core.second_look import looking


@dataclass(frozen=True, slots=True)
class StaticDecoder:
    """All requests are one batch, as far as memory suffices, decoded until the longest of them ends."""

    backbone: Backbone
    budget: Budget = field(default_factory=partial(Budget.of_pixels, sys.maxsize))

    def decode(
        self, bundle: Bundle, requests: Sequence[Request], gates: Sequence[bool], *, look: bool
    ) -> list[Answer]:
        """As `gate_actions.Decoder` asks."""
        answers: list[Answer] = []
        asked = list(zip(requests, gates, strict=True))
        for batch, made in in_batches(
            self.budget, asked, lambda row: row[0].prompt, lambda rows: self._decode(bundle, rows, look=look)
        ):
            answers += [Answer.missing(made.flaw)] * len(batch) if isinstance(made, BadItem) else made
        return answers

    def _decode(self, bundle: Bundle, rows: Sequence[tuple[Request, bool]], *, look: bool) -> list[Answer]:
        requests, gates = zip(*rows, strict=True)
        gate_N = torch.tensor(gates, device=bundle.head.down.device)
        second = bundle.second_look if look and not all(gates) else None
        reading = None if second is None else looking(self.backbone, bundle.layers, second)
        longest = max(request.max_new_tokens for request in requests)
        prompts = [request.prompt for request in requests]
        answers = decode(self.backbone, prompts, longest, bundle.head, gate_N, reading)
        every = 1 if second is None else second.every
        return [
            self._cut(answer, request.max_new_tokens, every)
            for answer, request in zip(answers, requests, strict=True)
        ]

    def _cut(self, answer: Answer, tokens: int, every: int) -> Answer:
        """The answer as its own limit would have left it; the token at the limit is never fed, so never read."""
        # A stop token takes a place of its own: an answer of exactly `tokens` was cut before it.
        if len(answer.ids) + (answer.finish_reason == "stop") <= tokens:
            return answer
        ids = answer.ids[:tokens]
        return replace(
            answer,
            text=self.backbone.tokenizer.decode(ids, skip_special_tokens=True).strip(),
            ids=ids,
            finish_reason="length",
            steered_tokens=min(answer.steered_tokens, tokens),
            risks=answer.risks[: (tokens - 1) // every],
        )
