"""An answer ends before a stop string, wherever its tokens lie."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from autosteer_core.stopping import Endings
from tests.tiny_models.text_models import CHATML, LLAMA
from tests.tiny_models.vocabulary import STOP, tokenizer

TOKENIZERS = {"bytes": tokenizer("bytes", ["<|im_end|>"], CHATML), "llama": tokenizer("llama", [], LLAMA)}
LETTERS = "ab cé日🎂\n"
words = st.text(LETTERS, max_size=12)


def endings(shape: str) -> Endings:
    return Endings(TOKENIZERS[shape], frozenset([1]))


def ids_of(words: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = words(text, add_special_tokens=False)["input_ids"]
    return ids


def in_full(words: PreTrainedTokenizerBase, ids: Sequence[int], strings: Sequence[str]) -> tuple[int, str, str]:
    """What `ended` says, with everything decoded anew for every token."""
    for count in range(1, len(ids) + 1):
        text = words.decode(ids[:count], skip_special_tokens=True)
        found = [text.index(string) for string in strings if string in text]
        if found:
            return count - 1, text[: min(found)].strip(), "stop"
    return len(ids), words.decode(ids, skip_special_tokens=True).strip(), "length"


@pytest.mark.parametrize("shape", TOKENIZERS)
@example(texts=["日ééé日"], noise=[], strings=["é日"])
@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(words, min_size=1, max_size=6),
    noise=st.lists(st.integers(2, 300), max_size=8),
    strings=st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3),
)
def test_reading_the_tail_finds_what_reading_everything_finds(
    shape: str, texts: list[str], noise: list[int], strings: list[str]
) -> None:
    reader = TOKENIZERS[shape]
    ids = [*noise, *(token for text in texts for token in ids_of(reader, text))]

    assert endings(shape).ended(ids, strings) == in_full(reader, ids, strings)


@pytest.mark.parametrize("shape", TOKENIZERS)
def test_a_string_over_many_tokens_and_characters_of_many_bytes_is_found(shape: str) -> None:
    ids = ids_of(TOKENIZERS[shape], "how 日🎂é is it")

    count, text, reason = endings(shape).ended(ids, ["🎂é i"])

    assert (text, reason) == ("how 日", "stop")
    assert 3 < count < len(ids)


def test_the_earliest_of_two_strings_counts() -> None:
    ids = ids_of(TOKENIZERS["bytes"], "a b c")

    assert endings("bytes").ended(ids, ["b", "b c", " "])[1:] == ("a", "stop")


def test_a_string_at_the_start_leaves_an_empty_answer() -> None:
    assert endings("bytes").ended(ids_of(TOKENIZERS["bytes"], "a b"), ["a"]) == (0, "", "stop")


def test_a_stop_token_ends_an_answer_and_so_does_a_special_token_named_as_a_string() -> None:
    reader = TOKENIZERS["bytes"]
    ids, control = ids_of(reader, "how do I"), reader.convert_tokens_to_ids("<|im_end|>")

    assert endings("bytes").ended([*ids, 1, *ids], []) == (len(ids), "how do I", "stop")
    assert endings("bytes").ended([*ids, control, *ids], ["<|im_end|>"]) == (len(ids), "how do I", "stop")
    assert endings("bytes").ended([*ids, control], [STOP])[2] == "length"
