"""The demo model, for real: it reads, names drawings it never trained on, and is SmolLM2 without pictures."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaOnevisionForConditionalGeneration

from autosteer_core.backbones.llava_onevision_processor import load_processor
from autosteer_core.evaluation import Rate
from pipelines.demo.drawing import FONTS, HELD_OUT_FONTS, draw_word
from pipelines.demo.model import demo_model_folder, language_model_file
from pipelines.demo.naming import OBJECT_PROMPT, WORD_PROMPT, ask, concepts, said

pytestmark = pytest.mark.demo
DEMO = Path(__file__).parents[2] / "pipelines" / "demo"
FLUENT = DEMO / "pictures" / "fluent"
WORDS_ASKED = 60


@pytest.fixture(scope="module")
def folder() -> Path:
    return demo_model_folder()


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return LlavaOnevisionForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return load_processor(folder)


def prompt(processor: Any, text: str, *, pictures: int = 0) -> str:
    content = [{"type": "image"}] * pictures + [{"type": "text", "text": text}]
    made: str = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return made


def fluent(name: str) -> Image.Image:
    return Image.open(FLUENT / f"{name}.png").convert("RGB")


def test_without_pictures_it_answers_as_plain_smollm2(model: Any, processor: Any) -> None:
    file = language_model_file()
    plain = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    turn = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    ours = processor(text=[prompt(processor, turn[0]["content"])], return_tensors="pt")
    wanted = plain.generate(ids, max_new_tokens=12, do_sample=False)
    assert torch.equal(ours["input_ids"], ids)
    assert torch.equal(model.generate(**ours, max_new_tokens=12, do_sample=False), wanted)


def test_names_drawings_of_a_style_it_never_trained_on(model: Any, processor: Any) -> None:
    known = [c for c in concepts() if (FLUENT / f"{c.name.replace(' ', '_')}.png").exists()]
    pictures = [fluent(c.name.replace(" ", "_")) for c in known]
    answers = ask(model, processor, pictures, OBJECT_PROMPT)
    right = sum(c.accepts(answer) for c, answer in zip(known, answers, strict=True))
    print(f"fluent: {right} of {len(known)} named, {Rate(right, len(known))}")
    assert len(known) > 200
    assert right / len(known) >= 0.70


def test_reads_words_in_fonts_it_never_trained_on(model: Any, processor: Any) -> None:
    words = random.Random(7).sample((DEMO / "words.txt").read_text().split(), WORDS_ASKED)
    fonts = [FONTS / name for name in HELD_OUT_FONTS]
    pictures = [draw_word(word, fonts[i % len(fonts)], seed=i) for i, word in enumerate(words)]
    answers = ask(model, processor, pictures, WORD_PROMPT)
    right = sum(said(answer) == word for word, answer in zip(words, answers, strict=True))
    print(f"held-out fonts: {right} of {len(words)} words read exactly")
    assert right / len(words) >= 0.80


def mixed(processor: Any) -> tuple[list[str], list[list[Image.Image]]]:
    texts = [
        prompt(processor, OBJECT_PROMPT, pictures=1),
        prompt(processor, "Name three colours."),
        prompt(processor, "What are these?", pictures=2),
    ]
    wide = draw_word("poison", FONTS / HELD_OUT_FONTS[0]).crop((0, 60, 192, 132))
    return texts, [[fluent("bomb")], [], [fluent("pizza"), wide]]


def test_a_mixed_left_padded_batch_generates_what_each_row_does_alone(model: Any, processor: Any) -> None:
    texts, pictures = mixed(processor)
    together = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
    width = together["input_ids"].shape[1]
    batched = model.generate(**together, max_new_tokens=8, do_sample=False)[:, width:]
    for row, (text, images) in enumerate(zip(texts, pictures, strict=True)):
        alone = processor(text=[text], images=[images] if images else None, return_tensors="pt")
        single = model.generate(**alone, max_new_tokens=8, do_sample=False)[0, alone["input_ids"].shape[1] :]
        assert batched[row, : len(single)].tolist() == single.tolist()


@pytest.mark.parametrize("size", [(64, 64), (300, 90), (50, 400), (1, 1)])
def test_processor_and_model_agree_on_the_number_of_vectors(
    model: Any, processor: Any, size: tuple[int, int]
) -> None:
    picture = Image.new("RGB", size, "red")
    inputs = processor(text=[prompt(processor, "?", pictures=1)], images=[[picture]], return_tensors="pt")
    placeholders = int((inputs["input_ids"] == processor.image_token_id).sum())
    vectors = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    assert placeholders == len(vectors[0]) <= 10


def test_bfloat16_names_the_same_object(folder: Path, processor: Any) -> None:
    half = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16).eval()
    (answer,) = ask(half, processor, [fluent("pizza")], OBJECT_PROMPT)
    assert said(answer) == "pizza"
