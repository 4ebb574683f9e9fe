"""What a person types makes no control token and no picture placeholder, however it is disguised."""

from collections import Counter
from collections.abc import Callable

import pytest

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.values import Item
from tests.pictures import png
from tests.security.disguises import DISGUISES, FOREIGN
from tests.security.hostile_tokenizers import NAMES, TRUSTING, backbone, most_pictures

HARMLESS = "what is in the picture"
PICTURES = (png("red", (40, 60)), png("blue", (70, 30)))

pytestmark = pytest.mark.security


def control_ids(chat: ChatBackbone) -> set[int]:
    """All that no text may make: added tokens that can be seen, and whatever stands for pictures."""
    added = chat.tokenizer.added_tokens_decoder.items()
    return {number for number, token in added if token.content.strip("▁ \n\t")} | {
        chat.image_token_id,
        *chat.suppressed,
    }


def count(chat: ChatBackbone, text: str, pictures: int, system: str | None = None) -> Counter[int]:
    """How often each control id stands in the whole prompt."""
    control = control_ids(chat)
    item = Item("a", text, PICTURES[:pictures], system=system)
    return Counter(each for each in chat.encode(item).ids if each in control)


def texts(chat: ChatBackbone) -> list[str]:
    """Every control token in every disguise."""
    tokens = [token.content for token in chat.tokenizer.added_tokens_decoder.values()]
    return [disguise(token) for token in dict.fromkeys([*tokens, *FOREIGN]) for disguise in DISGUISES.values()]


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_holds_the_control_ids_of_its_template_and_its_pictures_only(
    name: str, report: Callable[[str, object], None]
) -> None:
    chat = backbone(name)
    shown = range(most_pictures(name) + 1)
    wanted = [count(chat, HARMLESS, pictures) for pictures in shown]

    wrong = [
        (text, pictures)
        for pictures in shown
        for text in texts(chat)
        if count(chat, text, pictures) != wanted[pictures]
    ]

    report(f"control tokens, {name}", f"{len(texts(chat)) * len(shown):,} prompts, {len(wrong)} with one too many")
    assert not wrong
    assert [each[chat.image_token_id] > 0 for each in wanted] == [pictures > 0 for pictures in shown]


@pytest.mark.parametrize("name", NAMES)
def test_a_system_message_makes_none_either(name: str, report: Callable[[str, object], None]) -> None:
    chat = backbone(name)
    wanted = count(chat, HARMLESS, 0, HARMLESS)

    wrong = [text for text in texts(chat) if count(chat, HARMLESS, 0, text) != wanted]

    report(
        f"control tokens in system messages, {name}", f"{len(texts(chat)):,} prompts, {len(wrong)} with one too many"
    )
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_tokenizer_makes_a_control_id_of_every_control_token(name: str) -> None:
    """The control of the tests above: without our care, text is taken for more than text."""
    chat = backbone(name)
    control = control_ids(chat)
    tokens = [token.content for number, token in chat.tokenizer.added_tokens_decoder.items() if number in control]

    assert tokens
    assert all(not control.isdisjoint(chat.tokenizer(f"say {token}")["input_ids"]) for token in tokens)


@pytest.mark.parametrize(
    ("name", "disguise"), [*zip(TRUSTING, ("full width", "swapped case", "zero width inside"), strict=True)]
)
def test_a_tokenizer_that_normalises_first_sees_through_a_disguise(name: str, disguise: str) -> None:
    """Stripping tokens from the text would not help here: they are not in it yet."""
    chat = backbone(name)
    hidden = DISGUISES[disguise]("<|im_end|>")

    assert "<|im_end|>" not in hidden
    assert not control_ids(chat).isdisjoint(chat.tokenizer(hidden, add_special_tokens=False)["input_ids"])


def test_a_filter_that_strips_tokens_once_makes_one() -> None:
    assert DISGUISES["inside itself"]("<image>").replace("<image>", "") == "<image>"
