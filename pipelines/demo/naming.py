"""Asks the demo model about pictures and judges the answers: exact names only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

CONCEPTS = Path(__file__).parent / "concepts.json"
OBJECT_PROMPT = "What is in the picture?"
WORD_PROMPT = "What word is written in the picture?"
OPENINGS = re.compile(r"^(the word is|the word|the|an|a)\s+")
# Small models go on talking: "a harp is a musical instrument" has named the harp before the verb.
ENDINGS = re.compile(r"[.\n]|\s(is|are|was|has|that|which)(\s|$)")


@dataclass(frozen=True, slots=True)
class Concept:
    """A thing the model can name, with the other names that count as right."""

    name: str
    code_point: str
    article: str
    also: tuple[str, ...]

    def accepts(self, answer: str) -> bool:
        """Whole answer, not a part of it: "palm tree" is no answer to a tree."""
        return said(answer) in {name.lower() for name in (self.name, *self.also)}


def concepts() -> list[Concept]:
    """In the order of the tower's memory."""
    return [Concept(**(entry | {"also": tuple(entry["also"])})) for entry in json.loads(CONCEPTS.read_text())]


def said(answer: str) -> str:
    """The first words up to the verb or the full stop, without article and quotes."""
    opened = answer.strip().lower().strip("\"'")
    if opened.startswith("the word is "):
        opened = opened.removeprefix("the word is ")
    first = ENDINGS.split(opened)[0].strip().strip("\"'")
    return OPENINGS.sub("", first).strip("\"' ")


def ask(model: Any, processor: Any, pictures: list[Image.Image], prompt: str, batch: int = 24) -> list[str]:
    """Greedy answers, one per picture."""
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)
    answers: list[str] = []
    for start in range(0, len(pictures), batch):
        rows = [[picture] for picture in pictures[start : start + batch]]
        inputs = processor(text=[text] * len(rows), images=rows, return_tensors="pt", padding=True)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=9, do_sample=False)
        fresh = ids[:, inputs["input_ids"].shape[1] :]
        answers += processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
    return answers
