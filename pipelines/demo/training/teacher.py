"""The frozen language model: turns of a chat in, hidden states and scores out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from pipelines.demo.model import TEMPLATE
from pipelines.demo.training.sayings import Entry

IMAGE_TOKENS = 10
SLOTS = 4
# The words before the name that the slots stand for at the start; shorter for longer names.
OBJECT_OPENING, WORD_OPENING = " picture of a", " it says:"


class Teacher:
    """The frozen language model, with the system prompt computed once."""

    def __init__(self, language: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = language.eval().requires_grad_(False), tokenizer
        self.table: Tensor = language.get_input_embeddings().weight
        start = self.ids(self._chat("").split("<|im_start|>user")[0])
        with torch.no_grad():
            done = language(torch.tensor([start]), use_cache=True).past_key_values
        self.prefix = [(layer.keys, layer.values) for layer in done.layers]

    def ids(self, text: str) -> list[int]:
        """Token ids without additions."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def _chat(self, content: Any) -> str:
        turn = [{"role": "user", "content": content}]
        text: str = self.tokenizer.apply_chat_template(
            turn, chat_template=TEMPLATE.read_text(), tokenize=False, add_generation_prompt=True
        )
        return text

    def turn(self, prompt: str, *, pictured: bool) -> list[int]:
        """The user's turn, after the shared system prompt."""
        content = [{"type": "image"}, {"type": "text", "text": prompt}] if pictured else prompt
        text = "<|im_start|>user" + self._chat(content).split("<|im_start|>user")[1]
        return self.ids(text.replace("<image>", "<image>" * IMAGE_TOKENS))

    def run(self, embedded_BTH: Tensor) -> Any:
        """Hidden states of all layers, continuing the system prompt."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.prefix):
            size = (len(embedded_BTH), -1, -1, -1)
            cache.update(keys.expand(size), values.expand(size), index)
        return self.model.model(inputs_embeds=embedded_BTH, past_key_values=cache, output_hidden_states=True)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores."""
        return F.linear(hidden, self.table)


def slot_texts(teacher: Teacher, things: list[Entry]) -> tuple[Tensor, Tensor, int]:
    """Each slot's row in the table, each row's token, and how many are names; fillers are shared by many."""
    rows: dict[tuple[str, int], int] = {}
    wanted = []
    for entry in things:
        name = teacher.ids(" " + entry.name)[:SLOTS]
        opening = teacher.ids(WORD_OPENING if entry.is_word else OBJECT_OPENING)
        fillers = opening[len(name) - 1 :] if len(name) < SLOTS else []
        kind = f"{entry.is_word} {len(name)}"
        keys = [(f"{kind} {place}", token) for place, token in enumerate(fillers)]
        wanted.append(keys + [("name", token) for token in name])
    # Fillers first, names last: the names stay anchored to their embeddings, the fillers may go anywhere.
    for key in sorted({key for keys in wanted for key in keys}, key=lambda key: (key[0] == "name", key)):
        rows[key] = len(rows)
    index = torch.tensor([[rows[key] for key in keys] for keys in wanted])
    tokens = torch.tensor([token for _, token in rows])
    return index, tokens, sum(kind == "name" for kind, _ in rows)
