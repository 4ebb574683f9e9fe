"""Greedy answers for a batch of prompts through plain Transformers `generate`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.errors import UserMistake
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.second_look import Readings
from autosteer_core.steering import steered
from autosteer_core.values import Flaw

Look = AbstractContextManager[Readings]


@dataclass(frozen=True, slots=True)
class Answer:
    """Decoded text, its token ids without the stop token, and why decoding ended (`stop` or `length`).

    `risks` are the second look's readings of this answer, in order. `flaw` says why there is none.
    """

    text: str
    ids: tuple[int, ...]
    finish_reason: str
    steered_tokens: int = 0
    risks: tuple[float, ...] = ()
    flaw: Flaw | None = None

    @classmethod
    def missing(cls, flaw: Flaw) -> "Answer":
        """For a row that could not be decoded."""
        return cls("", (), "error", flaw=flaw)


@torch.inference_mode()
def decode(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    head: RefusalHead | None = None,
    gate_N: Tensor | None = None,
    look: Look | None = None,
) -> list[Answer]:
    """One greedy answer per prompt, in order; rows with an open gate are steered, all rows are read by `look`."""
    inputs = backbone.collate(prompts)
    steering = nullcontext() if head is None or gate_N is None else steered(backbone.head, head, gate_N)
    with steering as record, look or nullcontext() as readings:
        output = backbone.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=backbone.tokenizer.pad_token_id,
            suppress_tokens=sorted(backbone.suppressed) or backbone.model.generation_config.suppress_tokens,
        )
    answers = [_answer(backbone, ids.tolist()) for ids in output[:, inputs["input_ids"].shape[1] :]]
    if readings is not None:
        risks = readings.of([len(answer.ids) for answer in answers])
        answers = [replace(answer, risks=row) for answer, row in zip(answers, risks, strict=True)]
    if record is None:
        return answers
    passes = record.steered_passes.tolist()
    return [
        replace(answer, steered_tokens=min(count, len(answer.ids) + (answer.finish_reason == "stop")))
        for answer, count in zip(answers, passes, strict=True)
    ]


def _answer(backbone: Backbone, ids: list[int]) -> Answer:
    stops = stop_ids(backbone)
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    kept = ids if end is None else ids[:end]
    text = backbone.tokenizer.decode(kept, skip_special_tokens=True).strip()
    return Answer(text, tuple(kept), "length" if end is None else "stop")


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
