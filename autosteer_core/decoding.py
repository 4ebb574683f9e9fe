"""Greedy answers for a batch of prompts through plain Transformers `generate`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.errors import UserMistake
from autosteer_core.finite_logits import NO_LOGITS, FiniteRecord
from autosteer_core.logprobs import logprobs_heard
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.second_look import Readings
from autosteer_core.steering import SteerRecord, steered
from autosteer_core.stopping import AtStopStrings, Endings
from autosteer_core.values import Flaw

Look = AbstractContextManager[Readings]


@dataclass(frozen=True, slots=True)
class Answer:
    """Decoded text, its token ids without the stop token, and why decoding ended (`stop` or `length`).

    Where a stop string ended it, `text` ends before the string, `ids` before the token that completes the string.
    `risks` are the second look's readings of this answer, in order. `logprobs`, where asked for, are natural logs of
    the probabilities of those of `ids` that the model chose, before penalties and sampling.
    `flaw` says why there is no answer.
    """

    text: str
    ids: tuple[int, ...]
    finish_reason: str
    steered_tokens: int = 0
    risks: tuple[float, ...] = ()
    logprobs: tuple[float, ...] | None = None
    flaw: Flaw | None = None

    @classmethod
    def missing(cls, flaw: Flaw) -> "Answer":
        """For a row that could not be decoded."""
        return cls("", (), "error", flaw=flaw)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a batch is decoded with beside its gates: a second look, each row's own stop strings and limit.

    A row below the longest limit is decoded on, and what comes after its own limit says nothing about it.
    """

    look: Look | None = None
    stops: Sequence[Sequence[str]] = ()
    limits: Sequence[int] = ()
    logprobs: bool = False


@torch.inference_mode()
def decode(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    head: RefusalHead | None = None,
    gate_N: Tensor | None = None,
    extras: Extras = Extras(),
) -> list[Answer]:
    """One greedy answer per prompt, in order; rows with an open gate are steered, all rows are read by the look.

    An answer is missing, with its flaw, where the model gave a token's logits as NaN or infinite.
    """
    inputs = backbone.collate(prompts)
    steering = nullcontext() if head is None or gate_N is None else steered(backbone.head, head, gate_N)
    listening = logprobs_heard(backbone.model) if extras.logprobs else nullcontext()
    stops = extras.stops or [()] * len(prompts)
    endings, start = Endings(backbone.tokenizer, stop_ids(backbone)), inputs["input_ids"].shape[1]
    finite = FiniteRecord()
    with steering as record, extras.look or nullcontext() as readings, listening as heard:
        criteria = [AtStopStrings(endings, stops, start) if any(stops) else None, heard]
        output = backbone.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=backbone.tokenizer.pad_token_id,
            suppress_tokens=sorted(backbone.suppressed) or backbone.model.generation_config.suppress_tokens,
            logits_processor=LogitsProcessorList([finite]),
            stopping_criteria=StoppingCriteriaList(each for each in criteria if each is not None),
        )
    answers = [_answer(endings, ids, own) for ids, own in zip(output[:, start:].tolist(), stops, strict=True)]
    lengths = [len(answer.ids) for answer in answers]
    if readings is not None:
        answers = [replace(answer, risks=row) for answer, row in zip(answers, readings.of(lengths), strict=True)]
    if heard is not None:
        answers = [replace(answer, logprobs=row) for answer, row in zip(answers, heard.of(lengths), strict=True)]
    if record is not None:
        answers = _counted(answers, record)
    limits = extras.limits or [max_new_tokens] * len(prompts)
    sound = finite.of([min(_chosen(answer), limit) for answer, limit in zip(answers, limits, strict=True)])
    return [answer if fine else Answer.missing(NO_LOGITS) for answer, fine in zip(answers, sound, strict=True)]


def _counted(answers: list[Answer], record: SteerRecord) -> list[Answer]:
    """The answers with how many of their own tokens were steered, the one that ended them among these."""
    passes = record.steered_passes.tolist()
    return [
        replace(answer, steered_tokens=min(count, _chosen(answer)))
        for answer, count in zip(answers, passes, strict=True)
    ]


def _chosen(answer: Answer) -> int:
    """Tokens that the model chose for it: one more than it has, where one of them ended it."""
    return len(answer.ids) + (answer.finish_reason == "stop")


def _answer(endings: Endings, ids: list[int], strings: Sequence[str]) -> Answer:
    count, text, reason = endings.ended(ids, strings)
    return Answer(text, tuple(ids[:count]), reason)


def placeholder_id(backbone: Backbone) -> int | None:
    """The token that stands for a picture in a prompt, None where the family has none."""
    token: int | None = getattr(backbone.model.config, "image_token_id", None)
    return token


def before_placeholder(backbone: Backbone, ids: Sequence[int]) -> list[int]:
    """An answer up to its first placeholder: what can be fed again beside the pictures of the prompt."""
    token = placeholder_id(backbone)
    return list(ids[: ids.index(token)] if token in ids else ids)


def end_id(backbone: Backbone) -> int:
    """The token that ends a taught refusal.

    Raises:
        UserMistake: the model names none.
    """
    stops = stop_ids(backbone)
    if not stops:
        raise UserMistake("the model names no token that ends an answer: set eos_token_id in its generation_config")
    return min(stops)


def stop_ids(backbone: Backbone) -> frozenset[int]:
    """Every token that ends an answer, by the model's generation settings."""
    stops = backbone.model.generation_config.eos_token_id
    return frozenset([stops] if isinstance(stops, int) else stops or [])
