"""Requests as token rows: what the model is given and what it has to learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autosteer_core.refusals import REFUSALS
from pipelines.toy_chameleon.corpus import Request
from pipelines.toy_chameleon.tokens import BOI, BOS, EOI, EOS, SEP


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of prompt and answer; the first `prompt` of them are not learned."""

    ids: list[int]
    prompt: int


def answered(tokenizer: Any, request: Request, codes: list[int] | None) -> Example:
    """Image tokens stand where the processor would put placeholders: the model embeds both alike."""
    one = tokenizer.convert_tokens_to_ids
    picture = [] if codes is None else [one(BOI), *codes, one(EOI)]
    text, answer = tokenizer([request.text, request.answer], add_special_tokens=False)["input_ids"]
    prompt = [one(BOS), *picture, *text, one(SEP)]
    return Example([*prompt, *answer, one(EOS)], len(prompt))


def begun_refusals(tokenizer: Any, examples: Sequence[Example]) -> list[Example]:
    """A refusal whose first token is given after a request, and not learned.

    So the model can finish a refusal that something else begins, as any pretrained model can, and never learns
    to begin one.
    """
    rows = tokenizer(list(REFUSALS), add_special_tokens=False)["input_ids"]
    eos = tokenizer.convert_tokens_to_ids(EOS)
    return [
        Example([*example.ids[: example.prompt], *rows[number % len(rows)], eos], example.prompt + 1)
        for number, example in enumerate(examples)
    ]


def padded(rows: Sequence[Example], pad: int) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `labels` (N, T); prompt and padding are not learned."""
    longest = max(len(row.ids) for row in rows)
    filled = [(row, [pad] * (longest - len(row.ids))) for row in rows]
    return {
        "input_ids": torch.tensor([row.ids + spare for row, spare in filled]),
        "attention_mask": torch.tensor([[1] * len(row.ids) + [0] * len(spare) for row, spare in filled]),
        "labels": torch.tensor(
            [[-100] * row.prompt + row.ids[row.prompt :] + [-100] * len(spare) for row, spare in filled]
        ),
    }
