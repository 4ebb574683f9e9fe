"""Decode padded batches through plain `generate`: what every other way of decoding is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, Extras, decode
from autosteer_core.request import Request
from autosteer_core.second_look import looking


@dataclass(frozen=True, slots=True)
class StaticDecoder:
    """All requests are one batch, decoded until the longest of them ends."""

    backbone: Backbone

    def decode(
        self, bundle: Bundle, requests: Sequence[Request], gates: Sequence[bool], *, look: bool
    ) -> list[Answer]:
        """As `gate_actions.Decoder` asks."""
        gate_N = torch.tensor(list(gates), device=bundle.head.down.device)
        second = bundle.second_look if look and not all(gates) else None
        extras = Extras(
            None if second is None else looking(self.backbone, bundle.layers, second),
            [request.stop for request in requests],
            any(request.logprobs for request in requests),
        )
        longest = max(request.max_new_tokens for request in requests)
        prompts = [request.prompt for request in requests]
        answers = decode(self.backbone, prompts, longest, bundle.head, gate_N, extras)
        every = 1 if second is None else second.every
        return [
            self._cut(answer if request.logprobs else replace(answer, logprobs=None), request.max_new_tokens, every)
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
            logprobs=answer.logprobs and answer.logprobs[:tokens],
        )
