"""Where an answer ends: at a token that says so, before a stop string, or at its limit."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

# Tokens read before the longest stop string: a half character at the start of a text is shown otherwise than within.
_MARGIN = 6
_UNREADABLE = "\ufffd"


class Endings:
    """The ends of answers under one tokenizer; `stop_ids` are the tokens that end any answer.

    A stop string is looked for in the text without special tokens; one that is itself a special token ends the
    answer as a token does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        added = tokenizer.added_tokens_decoder
        self._special = {number: token.content for number, token in added.items() if token.special}

    def at(self, token: int, strings: Sequence[str]) -> bool:
        """Whether this token ends the answer before it."""
        return token in self._stop_ids or (token in self._special and self._special[token] in strings)

    def text(self, ids: Sequence[int]) -> str:
        """What a reader sees of an answer that was not cut."""
        return self._decoded(ids).strip()

    def cut(self, ids: Sequence[int], strings: Sequence[str]) -> str | None:
        """The text before the first stop string, where the last of `ids` completes one, else None.

        Only the last tokens are decoded unless they show a stop string.
        """
        if not strings:
            return None
        longest = max(len(string.encode()) for string in strings)
        if not any(string in tail for tail in self._tails(ids, longest + _MARGIN) for string in strings):
            return None
        text = self._decoded(ids)
        starts = [text.index(string) for string in strings if string in text]
        return text[: min(starts)].strip() if starts else None

    def ended(self, ids: Sequence[int], strings: Sequence[str]) -> tuple[int, str, str]:
        """Of decoded `ids`: how many belong to the answer, its text, and why it ended (`stop` or `length`).

        The token that completes a stop string does not belong to it, as a stop token does not.
        """
        for place, token in enumerate(ids):
            text = self.text(ids[:place]) if self.at(token, strings) else self.cut(ids[: place + 1], strings)
            if text is not None:
                return place, text, "stop"
        return len(ids), self.text(ids), "length"

    def _tails(self, ids: Sequence[int], count: int) -> Iterator[str]:
        """The last `count` tokens as text; begun in the middle of a character, some tokenizers read none of it."""
        for more in range(4):  # a character has no more bytes
            tail = self._decoded(self._last(ids, count + more))
            yield tail
            if _UNREADABLE not in tail:
                return

    def _last(self, ids: Sequence[int], count: int) -> list[int]:
        # Special tokens have no text: each of the others has at least one byte of it.
        return list(islice((token for token in reversed(ids) if token not in self._special), count))[::-1]

    def _decoded(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text


class AtStopStrings(StoppingCriteria):
    """Ends the rows of one `generate` call, whose prompts are `prompt_tokens` long, each at its own strings."""

    def __init__(self, endings: Endings, strings: Sequence[Sequence[str]], prompt_tokens: int) -> None:
        self._endings = endings
        self._strings = strings
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Shape (N,), bool."""
        rows = zip(input_ids[:, self._prompt_tokens :].tolist(), self._strings, strict=True)
        done = [
            self._endings.at(ids[-1], strings) or self._endings.cut(ids, strings) is not None for ids, strings in rows
        ]
        return torch.tensor(done, device=input_ids.device)
