"""Measures the finished model: naming per style, reading per font, and the raw-feature control."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaOnevisionForConditionalGeneration

from autosteer_core.backbones.llava_onevision_processor import load_processor
from autosteer_core.evaluation import Rate
from pipelines.demo.drawing import draw_word
from pipelines.demo.model import demo_model_folder
from pipelines.demo.naming import OBJECT_PROMPT, WORD_PROMPT, ask, concepts, said
from pipelines.demo.training.fonts import HELD_OUT, TRAINING, font_files
from pipelines.demo.training.objects import normalised
from pipelines.demo.training.pictures import on_white
from pipelines.demo.training.pretrained_trunk import pretrained_trunk
from pipelines.demo.training.styles import drawings
from pipelines.demo.training.words import as_tensor, vocabulary

SIDE = 128
WORDS_ASKED = 300


def measure(scratch: Path, out: Path, styles: tuple[str, ...], cache: Path | None = None) -> dict[str, Any]:
    """Every rate as right, total and 95 % interval; also what was said instead."""
    folder = demo_model_folder(cache)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder).eval()
    processor = load_processor(folder)
    found: dict[str, Any] = {}
    for style in styles:
        found[f"objects {style}"] = naming(model, processor, style, scratch)
        found[f"raw features {style}"] = raw_control(style, scratch)
        print(json.dumps({name: value for name, value in found.items() if style in name}), flush=True)
    for label, families in (("held-out fonts", HELD_OUT), ("training fonts", TRAINING)):
        found[f"words {label}"] = reading(model, processor, families, scratch)
        print(json.dumps(found[f"words {label}"]), flush=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def rate(right: int, total: int) -> dict[str, Any]:
    """A proportion with its interval."""
    low, high = Rate(right, total).interval
    return {
        "right": right,
        "n": total,
        "rate": round(right / total, 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def naming(model: Any, processor: Any, style: str, scratch: Path) -> dict[str, Any]:
    """Each concept of the style once, plain, on white."""
    known = concepts()
    drawn = drawings(style, [concept.code_point for concept in known], scratch)
    here = [concept for concept in known if concept.code_point in drawn]
    pictures = [on_white(Image.fromarray(drawn[concept.code_point]), SIDE) for concept in here]
    answers = ask(model, processor, pictures, OBJECT_PROMPT)
    wrong = {c.name: said(a) for c, a in zip(here, answers, strict=True) if not c.accepts(a)}
    return rate(len(here) - len(wrong), len(here)) | {"wrong": wrong}


def reading(model: Any, processor: Any, families: dict[str, str], scratch: Path) -> dict[str, Any]:
    """A seeded sample of the vocabulary, fonts in turn, regular and bold."""
    fonts = font_files(families, scratch, ("400Regular", "700Bold"))
    words = random.Random(0).sample(vocabulary(), WORDS_ASKED)
    pictures = [draw_word(word, fonts[i % len(fonts)], seed=1000 + i) for i, word in enumerate(words)]
    answers = ask(model, processor, pictures, WORD_PROMPT)
    wrong = {word: said(answer) for word, answer in zip(words, answers, strict=True) if said(answer) != word}
    return rate(len(words) - len(wrong), len(words)) | {"wrong": wrong}


def raw_control(style: str, scratch: Path) -> dict[str, Any]:
    """Nearest class mean of the pretrained trunk's features: what the pictures give without our training."""
    codes = [concept.code_point for concept in concepts()]
    trunk = pretrained_trunk().eval()
    means = torch.stack([style_features(trunk, each, codes, scratch) for each in ("google", "twitter")]).mean(0)
    drawn = [code for code in codes if code in drawings(style, codes, scratch)]
    labels = torch.tensor([codes.index(code) for code in drawn])
    guesses = (style_features(trunk, style, drawn, scratch) @ means.T).argmax(1)
    return rate(int((guesses == labels).sum()), len(drawn))


def style_features(trunk: Any, style: str, codes: list[str], scratch: Path) -> Tensor:
    """Of each picture and its mirror image; centred per style and scaled to length one."""
    drawn = drawings(style, codes, scratch)
    arrays = [on_white(Image.fromarray(drawn[code]), SIDE) for code in codes]
    batches = [normalised(batch) for batch in as_tensor(arrays).split(64)]
    with torch.no_grad():
        features = torch.cat([trunk(batch) + trunk(batch.flip(-1)) for batch in batches])
    return F.normalize(features - features.mean(0), dim=1)
