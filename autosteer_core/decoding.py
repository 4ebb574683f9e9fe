"""Greedy answers for a batch of prompts through plain Transformers `generate`."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.steering import steered


@dataclass(frozen=True, slots=True)
class Answer:
    """Decoded text, its token ids without the stop token, and why decoding ended (`stop` or `length`)."""

    text: str
    ids: tuple[int, ...]
    finish_reason: str
    steered_tokens: int = 0


@torch.inference_mode()
def decode(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    head: RefusalHead | None = None,
    gate_N: Tensor | None = None,
) -> list[Answer]:
    """One greedy answer per prompt, in order; rows with an open gate are steered through `head`."""
    inputs = backbone.collate(prompts)
    editing = nullcontext() if head is None or gate_N is None else steered(backbone.head, head, gate_N)
    with editing as record:
        output = backbone.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=backbone.tokenizer.pad_token_id,
        )
    answers = [_answer(backbone, ids.tolist()) for ids in output[:, inputs["input_ids"].shape[1] :]]
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


def stop_ids(backbone: Backbone) -> frozenset[int]:
    """Every token that ends an answer, by the model's generation settings."""
    stops = backbone.model.generation_config.eos_token_id
    return frozenset([stops] if isinstance(stops, int) else stops or [])
