"""Encode text that strangers typed: whatever it says, no control token and no picture placeholder comes out."""

import json
import secrets
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Tokenizer

from autosteer_core.errors import BadItem


class UserText:
    """A copy of a tokenizer that knows no control token.

    Control tokens are all added tokens but runs of white space: `split_special_tokens` alone would still let
    through those that a tokenizer does not call special, such as `<think>`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        self.control: dict[int, Any] = {number: token for number, token in added if _is_control(token)}

    def encode(self, text: str, opens: bool) -> list[int]:
        """Ids of a piece between two control tokens; `opens` says that it stands at the very start of a prompt.

        Raises:
            BadItem: E_PLACEHOLDER, the vocabulary itself spells a control token in plain text; E_TEXT_UTF8, half a
                surrogate pair.
        """
        _check_whole(text)
        copy, fence = self._copy
        ids = copy.encode(text if opens else fence + text, add_special_tokens=False).ids
        ids = ids if opens else ids[1:]
        if not (self.control.keys() - {self._tokenizer.unk_token_id}).isdisjoint(ids):
            raise BadItem(
                "E_PLACEHOLDER", "the text encodes to a control token: remove control tokens from it", "text"
            )
        return list(ids)

    def boundaries(self, text: str) -> tuple[int, int]:
        """Where the text's first control token starts and its last one ends, in characters; (length, 0) if none."""
        encoded = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        spans = [span for number, span in zip(encoded.ids, encoded.offsets, strict=True) if number in self.control]
        return (spans[0][0], spans[-1][1]) if spans else (len(text), 0)

    @cached_property
    def _copy(self) -> tuple[Tokenizer, str]:
        """The copy, and a token that nobody can guess: text after it is encoded as text inside a prompt is."""
        original, fence = self._tokenizer.backend_tokenizer, f"<{secrets.token_hex(16)}>"
        state = json.loads(original.to_str())
        state |= {"truncation": None, "padding": None, "post_processor": None}
        plain = original.get_vocab(with_added_tokens=False)
        state["added_tokens"] = [
            # Ids beyond the vocabulary count up, so a control token there is renamed and keeps its place.
            token | {"content": f"{token['id']}{fence}"} if token["id"] in self.control else token
            for token in state["added_tokens"]
            if token["id"] not in self.control or token["content"] not in plain
        ]
        copy = Tokenizer.from_str(json.dumps(state))
        copy.add_special_tokens([AddedToken(fence, normalized=False)])
        return copy, fence


def _check_whole(text: str) -> None:
    """JSON can say half a surrogate pair; no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = f"at character {error.start} of the prompt's text"
        raise BadItem("E_TEXT_UTF8", f"half a surrogate pair {at}, expected UTF-8: repair the text", "text") from None


def _is_control(token: Any) -> bool:
    return bool(token.special or token.content.replace("▁", " ").strip())
