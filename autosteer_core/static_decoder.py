"""Decode padded batches through plain `generate`: what every other way of decoding is compared with."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

import torch

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.budget import Budget, fitting, in_batches, too_large
from autosteer_core.decoding import Answer, Extras, decode
from autosteer_core.engine import silent
from autosteer_core.errors import BadItem
from autosteer_core.probe import Measured
from autosteer_core.risk_reading import measure
from autosteer_core.second_look import looking
from autosteer_core.work import Course, Work

T = TypeVar("T")

Decided = tuple[int, Work, bool]  # place, work, whether it is steered


@dataclass(frozen=True, slots=True)
class StaticDecoder:
    """Rows of similar length are one batch of at most `batch_rows`, decoded until the longest of them ends.

    Risks are read within `budget`, answers decoded within `together`: as many tokens as memory holds.
    """

    backbone: Backbone
    batch_rows: int = 16
    pulse: Callable[[], None] = silent
    budget: Budget = field(default_factory=Budget)
    together: Budget = field(default_factory=partial(Budget.of_pixels, sys.maxsize))

    def drive(self, courses: Sequence[Course[T]]) -> list[T]:
        """The result of every course, in order; what they ask for is decoded in rounds."""
        results: dict[int, T] = {}
        answers: dict[int, Answer | None] = dict.fromkeys(range(len(courses)))
        while answers:
            works: dict[int, Work] = {}
            for place, answer in answers.items():
                try:
                    works[place] = courses[place].send(answer)
                except StopIteration as end:
                    results[place] = end.value
            answers = self._answered(works)
        return [results[place] for place in range(len(courses))]

    def _answered(self, works: dict[int, Work]) -> dict[int, Answer | None]:
        """One round; None where a gate turned its work away."""
        answers: dict[int, Answer | None] = dict.fromkeys(works)
        decided: list[Decided] = []
        for place, measured in self._measured(works).items():
            said = _said(works[place], measured)
            if isinstance(said, BadItem):
                answers[place] = Answer.missing(said.flaw)
            elif said is not None:
                decided.append((place, works[place], said))
        for rows in self._batches(decided):
            for batch, made in in_batches(self.together, rows, _prompt, self._decode):
                self.pulse()
                found = [Answer.missing(made.flaw)] * len(batch) if isinstance(made, BadItem) else made
                answers |= zip((place for place, _, _ in batch), found, strict=True)
        return answers

    def _measured(self, works: dict[int, Work]) -> dict[int, Measured | BadItem | None]:
        """None for work whose gate waits for nothing."""
        found: dict[int, Measured | BadItem | None] = dict.fromkeys(works)
        undecided = [(place, work) for place, work in works.items() if not isinstance(work.gate, bool)]
        for bundle in {id(work.bundle): work.bundle for _, work in undecided}.values():
            own = {place: work.request.prompt for place, work in undecided if work.bundle is bundle}
            read = measure(self.backbone, bundle, list(own.values()), self.budget, self.pulse)
            found |= zip(own, read, strict=True)
        return found

    def _batches(self, decided: list[Decided]) -> Iterator[list[Decided]]:
        """One bundle a batch; work that is to be alone is."""

        def shared(each: Decided) -> tuple[int, int]:
            place, work, _ = each
            return id(work.bundle), place if work.alone else -1

        decided.sort(key=lambda each: (shared(each), each[1].length))
        for _, group in groupby(decided, key=shared):
            rows = list(group)
            for start in range(0, len(rows), self.batch_rows):
                yield rows[start : start + self.batch_rows]

    def _decode(self, batch: Sequence[Decided]) -> list[Answer]:
        requests = [work.request for _, work, _ in batch]
        bundle = batch[0][1].bundle
        gate_N = torch.tensor([steered for _, _, steered in batch], device=bundle.head.down.device)
        look = next((work.look for _, work, steered in batch if work.look and not steered), None)
        extras = Extras(
            None if look is None else looking(self.backbone, bundle.layers, look),
            [request.stop for request in requests],
            [request.max_new_tokens for request in requests],
            any(request.logprobs for request in requests),
        )
        longest = max(request.max_new_tokens for request in requests)
        prompts = [request.prompt for request in requests]
        answers = decode(self.backbone, prompts, longest, bundle.head, gate_N, extras)
        every = look.every if look else 1
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


def _said(work: Work, measured: Measured | BadItem | None) -> bool | BadItem | None:
    """What the gate says; why it cannot, where memory does not suffice to read the row."""
    if isinstance(measured, BadItem):
        return measured
    if measured is None:
        assert isinstance(work.gate, bool)
        return work.gate
    said = fitting(lambda: work.steered(measured))
    return said[0] if said else too_large(work.request.prompt)


def _prompt(decided: Decided) -> Prompt:
    return decided[1].request.prompt
