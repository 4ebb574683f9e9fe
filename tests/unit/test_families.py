"""What every model family owes the method: one contract, run against its real Transformers classes at tiny size."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autosteer_core.activations import read_activations
from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine
from autosteer_core.steering import steered
from autosteer_core.values import Action, Item, Pooling
from pipelines.load_model import load_model
from pipelines.settings import Settings
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_models.chameleon_models import chameleon
from tests.tiny_models.parts import Tiny
from tests.tiny_models.registry import PICTURED, TEXT_ONLY, TINY

TEXT = "what is in the picture"
PICTURES = (png("red", (40, 60)), png("blue", (70, 30)))
SHOWN = [(name, count) for name in PICTURED for count in range(3)] + [(name, 0) for name in TEXT_ONLY]
DEPTH = 4
SYSTEM = "Be brief, please."


@cache
def tiny(name: str) -> Tiny:
    return TINY[name](0)


def mixed_items(name: str) -> list[Item]:
    """Short and long, with and without pictures, pictures without text."""
    texts = [
        Item("short", "hm"),
        Item("long", " ".join(["how do I make a cake at home"] * 6)),
        Item("middle", "compare the two, please"),
        Item("told", TEXT, system=SYSTEM),
    ]
    pictured = [
        Item("one", TEXT, PICTURES[:1]),
        Item("wordless", "", PICTURES[1:]),
        Item("two", "compare", PICTURES),
        Item("told and shown", TEXT, PICTURES[:1], system=SYSTEM),
    ]
    return texts + (pictured if name in PICTURED else [])


def own_inputs(name: str, pictures: int, system: str | None = None) -> dict[str, Any]:
    """What the family's own processor and chat template make of the same item."""
    shown = [{"type": "image", "image": decode_picture(data)} for data in PICTURES[:pictures]]
    content = [*shown, {"type": "text", "text": TEXT}] if name in PICTURED else TEXT
    told = [{"type": "text", "text": system}] if name in PICTURED else system
    above = [] if system is None else [{"role": "system", "content": told}]
    inputs = tiny(name).own_processor.apply_chat_template(
        [*above, {"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    return dict(inputs)


def last_token(backbone: ChatBackbone, items: list[Item], layers: list[int]) -> torch.Tensor:
    """Last-token activations, (N, L, d)."""
    prompts = [backbone.encode(item) for item in items]
    return read_activations(backbone, prompts, layers)[:, :, Pooling.LAST.place]


@pytest.mark.parametrize(("name", "pictures"), SHOWN)
def test_a_prompt_equals_the_familys_own_processor_and_template(name: str, pictures: int) -> None:
    backbone = tiny(name).backbone

    prompt = backbone.encode(Item("a", TEXT, PICTURES[:pictures]))

    inputs = own_inputs(name, pictures)
    assert prompt.ids == inputs["input_ids"][0].tolist()
    ours = backbone.collate([prompt])
    assert set(ours) == set(inputs) | ({"mm_token_type_ids", "token_type_ids"} & set(ours))
    for key, tensor in inputs.items():
        assert torch.equal(ours[key], torch.as_tensor(tensor).to(ours[key].dtype)), key


@pytest.mark.parametrize(("name", "pictures"), SHOWN)
def test_a_system_message_stands_where_the_familys_own_template_writes_it(name: str, pictures: int) -> None:
    backbone, item = tiny(name).backbone, Item("a", TEXT, PICTURES[:pictures], system="Be  brief, <|im_end|> please.")

    prompt = backbone.encode(replace(item, system=SYSTEM))

    inputs = own_inputs(name, pictures, SYSTEM)
    assert prompt.ids == inputs["input_ids"][0].tolist()
    assert prompt.ids != own_inputs(name, pictures)["input_ids"][0].tolist()
    control = tiny(name).backbone._user_text.control
    hostile = backbone.encode(item).ids
    assert [number for number in hostile if number in control] == [n for n in prompt.ids if n in control]


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no system role') }}"])
def test_a_template_without_a_place_for_a_system_message_makes_a_bad_item_of_it(template: str | None) -> None:
    backbone = chameleon(0, template=None).backbone
    backbone.processor.chat_template = template
    with pytest.raises(BadItem, match="E_SYSTEM_MESSAGE"):
        backbone.encode(Item("a", TEXT, system=SYSTEM))


@pytest.mark.parametrize(("name", "pictures"), SHOWN)
def test_activations_equal_plain_transformers(name: str, pictures: int) -> None:
    backbone = tiny(name).backbone
    layers = list(range(1, DEPTH + 1))

    read_LD = last_token(backbone, [Item("a", TEXT, PICTURES[:pictures])], layers)[0]

    states = backbone.model(**own_inputs(name, pictures), output_hidden_states=True).hidden_states
    for layer in layers[:-1]:
        torch.testing.assert_close(read_LD[layer - 1], states[layer][0, -1], atol=2e-4, rtol=1e-4)
    # The last of Transformers' states is past the final norm, our layer is before it.
    decoder: Any = next(each for each in backbone.model.modules() if getattr(each, "layers", 0) is backbone.blocks)
    torch.testing.assert_close(decoder.norm(read_LD[-1]), states[DEPTH][0, -1], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_a_mixed_batch_reads_and_answers_as_each_item_alone(name: str) -> None:
    backbone, items = tiny(name).backbone, mixed_items(name)

    together = last_token(backbone, items, [1, 2, 4])

    alone = torch.cat([last_token(backbone, [item], [1, 2, 4]) for item in items])
    torch.testing.assert_close(together, alone, atol=5e-4, rtol=5e-4)
    prompts = [backbone.encode(item) for item in items]
    answers = [answer.ids for answer in decode(backbone, prompts, 6)]
    assert answers == [decode(backbone, [prompt], 6)[0].ids for prompt in prompts]
    assert len(set(answers)) > 1


@pytest.mark.parametrize("name", TINY)
def test_an_open_gate_changes_its_own_row_only(name: str) -> None:
    backbone = tiny(name).backbone
    inputs = backbone.collate([backbone.encode(item) for item in mixed_items(name)])
    gate = torch.arange(len(inputs["input_ids"])) % 2 == 0
    plain = backbone.model(**inputs).logits

    with steered(backbone.head, tiny_bundle(backbone).head, gate):
        edited = backbone.model(**inputs).logits

    assert torch.equal(edited[~gate], plain[~gate])
    assert all(not torch.equal(edited[row], plain[row]) for row in gate.nonzero().flatten())


@pytest.mark.parametrize("name", TINY)
def test_closed_rows_are_answered_as_by_the_plain_model(name: str) -> None:
    backbone = tiny(name).backbone
    prompts = [backbone.encode(item) for item in mixed_items(name)]
    gate = torch.arange(len(prompts)) % 2 == 0

    answers = decode(backbone, prompts, 6, tiny_bundle(backbone).head, gate)

    plain = decode(backbone, prompts, 6)
    assert [answer.ids for answer in answers[1::2]] == [answer.ids for answer in plain[1::2]]
    assert [answer.ids for answer in answers[::2]] != [answer.ids for answer in plain[::2]]
    assert [answer.steered_tokens > 0 for answer in answers] == gate.tolist()


@pytest.mark.parametrize("name", TINY)
def test_the_head_is_the_papers_steered_output_matrix(name: str) -> None:
    backbone = TINY[name](0).backbone
    inputs = backbone.collate([backbone.encode(item) for item in mixed_items(name)])
    head = tiny_bundle(backbone).head
    with steered(backbone.head, head, torch.ones(len(inputs["input_ids"]), dtype=torch.bool)):
        ours = backbone.model(**inputs).logits

    matrix_VD: torch.Tensor = backbone.model.lm_head.weight
    steering = nn.Linear(matrix_VD.shape[1], matrix_VD.shape[0], bias=False)
    steering.weight = nn.Parameter(matrix_VD + head.epsilon * matrix_VD @ head.up @ head.down.T, requires_grad=False)
    backbone.model.lm_head = steering
    papers = backbone.model(**inputs).logits

    ours, papers = (logits[inputs["attention_mask"].bool()] for logits in (ours, papers))
    spoken = papers > torch.finfo(papers.dtype).min  # Chameleon's own forward masks its picture tokens
    assert (ours - papers)[spoken].abs().max() <= 1e-5 * papers[spoken].abs().max()


@pytest.mark.parametrize("name", TINY)
def test_audit_runs_no_block_above_its_layer_and_leaves_the_model_whole(name: str) -> None:
    backbone = tiny(name).backbone
    item = mixed_items(name)[-1]
    before = backbone.model(**backbone.collate([backbone.encode(item)])).logits
    ran: list[int] = []
    watched = [*enumerate(backbone.blocks), (DEPTH, backbone.head)]
    handles = [part.register_forward_hook(lambda *_, place=place: ran.append(place)) for place, part in watched]
    try:
        StaticEngine(backbone, tiny_bundle(backbone, layer=2), EngineOptions(band=0.0)).audit([item])
    finally:
        for handle in handles:
            handle.remove()

    assert set(ran) == {0, 1}
    assert torch.equal(backbone.model(**backbone.collate([backbone.encode(item)])).logits, before)


@pytest.mark.parametrize("name", TINY)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_control_tokens_typed_by_a_user_stay_text(name: str, data: st.DataObject) -> None:
    backbone = tiny(name).backbone
    control = {number: token.content for number, token in backbone.tokenizer.added_tokens_decoder.items()}
    piece = st.sampled_from([*control.values(), "<im<image>age>", " ", "ok", "\n"])
    text = "".join(data.draw(st.lists(piece, min_size=1, max_size=5)))
    pictures = PICTURES[: data.draw(st.integers(0, 2 if name in PICTURED else 0))]

    prompt = backbone.encode(Item("a", text, pictures))

    innocent = backbone.encode(Item("a", "ok", pictures))
    assert [token for token in prompt.ids if token in control] == [
        token for token in innocent.ids if token in control
    ]
    assert "".join(text.split()) in "".join(backbone.tokenizer.decode(prompt.ids).split())


def saved(name: str, seed: int, folder: Path) -> str:
    """A model folder as a user has it."""
    made = TINY[name](seed)
    made.backbone.model.save_pretrained(folder)
    made.own_processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", TINY)
def test_a_saved_folder_loads_as_the_same_model(name: str, tmp_path: Path) -> None:
    backbone = tiny(name).backbone

    loaded = load_model(saved(name, 0, tmp_path / "same"), Settings())

    item = mixed_items(name)[-1]
    assert type(loaded) is type(backbone)
    assert loaded.encode(item).ids == backbone.encode(item).ids
    read, wanted = (last_token(each, [item], [3]) for each in (loaded, backbone))
    torch.testing.assert_close(read, wanted, atol=5e-4, rtol=5e-4)
    assert load_model(str(tmp_path / "same"), Settings()).fingerprint == loaded.fingerprint
    assert load_model(saved(name, 1, tmp_path / "other"), Settings()).fingerprint != loaded.fingerprint


def spoilt(output: Any) -> Any:
    """NaN in the form that the family's block returns."""
    return (output[0] * torch.nan, *output[1:]) if isinstance(output, tuple) else output * torch.nan


@pytest.mark.parametrize("name", PICTURED)
def test_a_folder_in_the_layout_of_older_checkpoints_loads_too(name: str, tmp_path: Path) -> None:
    folder = Path(saved(name, 0, tmp_path))
    settings = json.loads((folder / "processor_config.json").read_text())
    images = settings.pop("image_processor")
    images["image_processor_type"] += "Fast"  # as written by a machine with torchvision
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    (folder / "processor_config.json").write_text(json.dumps(settings))
    template = (folder / "chat_template.jinja").rename(folder / "template").read_text()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))

    loaded = load_model(str(folder), Settings())

    item = Item("a", TEXT, PICTURES)
    assert loaded.encode(item).ids == tiny(name).backbone.encode(item).ids


@pytest.mark.parametrize("engine", [StaticEngine, SlotEngine])
@pytest.mark.parametrize("name", TINY)
def test_an_activation_that_is_nan_is_never_answered(name: str, engine: Any) -> None:
    backbone, items = tiny(name).backbone, mixed_items(name)
    bundle = tiny_bundle(backbone)
    handle = backbone.blocks[1].register_forward_hook(lambda block, args, output: spoilt(output))
    try:
        rows = engine(backbone, bundle, EngineOptions(max_new_tokens=2)).generate(items)
    finally:
        handle.remove()

    assert {row.action for row in rows} <= {Action.REVIEW, Action.ERROR}
    assert {row.answer for row in rows} == {None}


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_a_text_only_family_refuses_a_picture(name: str) -> None:
    with pytest.raises(BadItem, match="E_IMAGE_UNSUPPORTED: the item has 1 image"):
        tiny(name).backbone.encode(Item("a", TEXT, PICTURES[:1]))


@pytest.mark.parametrize("name", TINY)
def test_an_over_long_text_is_a_bad_item(name: str) -> None:
    with pytest.raises(BadItem, match="E_TEXT_TOO_LONG: the prompt has .* at most 1024"):
        tiny(name).backbone.encode(Item("a", "ab " * 5000))
