"""Prompts of the LLaVA-OneVision family."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.errors import BadItem
from autosteer_core.values import Item
from tests.pictures import png
from tests.tiny_model import SPECIAL, tiny_llava_onevision

BACKBONE = tiny_llava_onevision()
IMAGE_TOKEN = 3


def test_a_prompt_without_user_control_tokens_equals_the_processors_own(backbone: LlavaOnevision = BACKBONE) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "what is in the picture"}]
    processor = backbone.processor
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    from autosteer_core.pictures import decode_picture

    wanted = processor(text=[text], images=[[decode_picture(png())]], return_tensors="pt")

    prompt = backbone.encode(Item("a", "what is in the picture", (png(),)))

    assert prompt.ids == wanted["input_ids"][0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*SPECIAL, "<im<image>age>", " ", "ok", "\n"]), max_size=6), st.integers(0, 2))
def test_control_tokens_typed_by_a_user_stay_text(pieces: list[str], pictures: int) -> None:
    item = Item("a", "".join(pieces), tuple(png() for _ in range(pictures)))
    plain = BACKBONE.encode(Item("a", "x", item.images))

    prompt = BACKBONE.encode(item)

    assert prompt.ids.count(IMAGE_TOKEN) == plain.ids.count(IMAGE_TOKEN)
    assert prompt.ids.count(2) == 1  # the template's own end of turn
    assert BACKBONE.tokenizer.decode(prompt.ids).count("assistant\n") >= 1


def test_two_pictures_in_one_item_reach_the_model() -> None:
    prompt = BACKBONE.encode(Item("a", "compare", (png("red"), png("blue"))))

    output = BACKBONE.body(**BACKBONE.collate([prompt]))

    assert output.last_hidden_state.shape[1] == len(prompt.ids)


def test_an_over_long_text_is_a_bad_item() -> None:
    with pytest.raises(BadItem, match="E_TEXT_TOO_LONG: the prompt has .* at most 1024"):
        BACKBONE.encode(Item("a", "ab " * 5000))


def test_fingerprints_tell_weights_apart() -> None:
    assert tiny_llava_onevision(seed=0).fingerprint == BACKBONE.fingerprint
    assert tiny_llava_onevision(seed=1).fingerprint != BACKBONE.fingerprint


def test_a_changed_template_changes_the_fingerprint() -> None:
    other = tiny_llava_onevision()
    other.processor.chat_template += " "

    assert other.fingerprint != BACKBONE.fingerprint
