"""What is Chameleon's own: picture tokens, no template, no picture in an answer, two norm orders."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers.models.chameleon.modeling_chameleon import ChameleonSwinDecoderLayer

from autosteer_core.activations import read_activations
from autosteer_core.backbones.chameleon import Chameleon
from autosteer_core.decoding import decode
from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Item
from tests.pictures import png
from tests.tiny_models.chameleon_models import BOI, CODES, CONTROL, EOI, IMAGE, SEP, TEMPLATE, chameleon

TINY = chameleon()
BACKBONE: Chameleon = TINY.backbone
PICTURED = Item("a", "what is in the picture", (png("red"), png("blue", (50, 40))))


@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_without_a_template_the_prompt_is_the_processors_own(pictures: int) -> None:
    item = Item("a", "what is in the picture", PICTURED.images[:pictures])
    images = [decode_picture(data) for data in item.images] or None
    wanted = TINY.own_processor(text=IMAGE * pictures + item.text, images=images, return_tensors="pt")

    inputs = BACKBONE.collate([BACKBONE.encode(item)])

    assert inputs["input_ids"].tolist() == wanted["input_ids"].tolist()
    assert inputs.keys() == wanted.keys()
    assert not pictures or torch.equal(inputs["pixel_values"], wanted["pixel_values"])


def test_a_template_of_the_tokenizer_is_used() -> None:
    backbone = chameleon(template=TEMPLATE).backbone

    prompt = backbone.encode(Item("a", "how do I", (png(),)))

    assert backbone.tokenizer.decode(prompt.ids) == f"<s>{BOI}{IMAGE * 4}{EOI}how do I Answer:{SEP}"


def test_pictures_reach_the_decoder_as_tokens_of_the_vocabulary() -> None:
    inputs = BACKBONE.collate([BACKBONE.encode(PICTURED)])
    tokens = BACKBONE.model.get_image_tokens(inputs["pixel_values"]).flatten().long()
    written = inputs["input_ids"].clone()
    written[written == BACKBONE.image_token_id] = tokens

    seen = BACKBONE.body(**inputs).last_hidden_state

    assert set(BACKBONE.tokenizer.convert_ids_to_tokens(tokens.tolist())) <= set(CODES)
    assert torch.equal(seen, BACKBONE.body(input_ids=written).last_hidden_state)


def painter() -> Chameleon:
    """A model that would rather draw than talk: picture tokens have by far the strongest outputs."""
    backbone = chameleon().backbone
    with torch.no_grad():
        backbone.model.lm_head.weight[sorted(backbone.suppressed)] *= 100.0
    return backbone


@pytest.mark.parametrize("steered", [False, True])
def test_no_answer_holds_a_picture_token_even_of_a_model_that_wants_to_draw(steered: bool) -> None:
    backbone = painter()
    prompts = [backbone.encode(PICTURED), backbone.encode(Item("b", "make a cake"))]
    inputs = backbone.collate(prompts)
    plain = backbone.model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    generator = torch.Generator().manual_seed(0)
    head = RefusalHead(torch.randn(32, 4, generator=generator), torch.randn(32, 4, generator=generator), 0.5)

    answers = decode(backbone, prompts, 8, head, torch.tensor([steered] * 2))

    assert not backbone.suppressed.isdisjoint(plain.flatten().tolist())
    assert all(answer.ids and backbone.suppressed.isdisjoint(answer.ids) for answer in answers)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL, "<s>", "<stop>", "<ima<image>ge>", " ", "ok", "\n"]), max_size=6))
def test_control_and_picture_tokens_typed_by_a_user_stay_text(pieces: list[str]) -> None:
    plain = BACKBONE.encode(Item("a", "x", (png(),)))

    prompt = BACKBONE.encode(Item("a", "".join(pieces), (png(),)))

    typed = prompt.ids[len(plain.ids) - 2 : -1]
    assert set(typed).isdisjoint(BACKBONE.tokenizer.all_special_ids + sorted(BACKBONE.suppressed))
    assert BACKBONE.tokenizer.decode(typed) == "".join(pieces)


def test_a_vocabulary_that_spells_a_picture_token_in_plain_text_is_refused() -> None:
    state = json.loads(BACKBONE.tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in CODES]
    state["model"]["ignore_merges"] = True
    tiny = chameleon()
    names = {"bos_token": "<s>", "sep_token": SEP, "pad_token": "<pad>"}
    tiny.own_processor.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), **names
    )
    backbone = Chameleon(tiny.backbone.model, tiny.own_processor)

    with pytest.raises(BadItem, match="E_PLACEHOLDER: the text encodes to a picture token"):
        backbone.encode(Item("a", CODES[0]))


@pytest.mark.parametrize("swin_norm", [False, True])
def test_an_audit_reads_what_the_whole_model_has_and_stops_at_the_layer(swin_norm: bool) -> None:
    backbone = chameleon(swin_norm=swin_norm).backbone
    prompts = [backbone.encode(PICTURED), backbone.encode(Item("b", "make a cake"))]
    whole = [
        backbone.body(**backbone.collate([prompt]), output_hidden_states=True).hidden_states for prompt in prompts
    ]
    ran: list[int] = []
    for number, block in enumerate(backbone.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    backbone.body.vqmodel.encoder.register_forward_hook(lambda *_: ran.append(-1))

    read = read_activations(backbone, prompts, [2])[:, 0, 0]

    assert isinstance(backbone.blocks[0], ChameleonSwinDecoderLayer) is swin_norm
    assert torch.allclose(read, torch.stack([states[2][0, -1] for states in whole]), atol=1e-4)
    assert set(ran) == {-1, 0, 1}


def test_a_saved_model_loads_with_the_same_prompts_and_fingerprint(tmp_path: Path) -> None:
    BACKBONE.model.save_pretrained(tmp_path)
    TINY.own_processor.save_pretrained(tmp_path)

    loaded = Chameleon(AutoModelForImageTextToText.from_pretrained(tmp_path), Chameleon.load_processor(str(tmp_path)))

    assert loaded.encode(PICTURED).ids == BACKBONE.encode(PICTURED).ids
    assert loaded.fingerprint == BACKBONE.fingerprint


def test_another_separator_or_picture_length_is_another_fingerprint() -> None:
    separated, longer = chameleon(), chameleon()
    separated.backbone.tokenizer.sep_token = EOI
    longer.own_processor.image_seq_length = 5

    assert len({BACKBONE.fingerprint, separated.backbone.fingerprint, longer.backbone.fingerprint}) == 3
