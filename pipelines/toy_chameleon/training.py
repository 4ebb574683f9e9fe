"""Trains the toy model from scratch: picture tokens first, then answers to requests of all three forms."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import ChameleonConfig, ChameleonForConditionalGeneration, ChameleonVQVAEConfig

from autosteer_core.pictures import decode_picture
from autosteer_core.refusals import REFUSALS
from pipelines.toy_chameleon.corpus import MODALITIES, Request, requests
from pipelines.toy_chameleon.drawing import COLOURS, SIDE
from pipelines.toy_chameleon.examples import Example, answered, begun_refusals, padded
from pipelines.toy_chameleon.picture_tokens import Drawn, fit_picture_tokens, picture_ids
from pipelines.toy_chameleon.things import THINGS
from pipelines.toy_chameleon.tokens import CODES, build_processor

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, beside the code."""

    seed: int = 0
    picture_steps: int = 450
    pictures: int = 4000
    drawings: int = 6
    steps: int = 700
    batch: int = 48
    learning_rate: float = 2e-3
    refusals: float = 0.05


def train(recipe: Recipe, say: Say) -> tuple[Any, Any]:
    """Model and processor, the same for the same recipe on the same machine."""
    asked = {modality: requests("train", modality, recipe.drawings) for modality in MODALITIES}
    everything = [request for rows in asked.values() for request in rows]
    processor = build_processor([text for row in everything for text in (row.text, row.answer)] + list(REFUSALS) * 20)
    torch.manual_seed(recipe.seed)
    model = build_model(processor)
    pixels = {request: _pixels(processor, request) for request in everything if request.drawing}
    shown = random.Random(recipe.seed).sample(list(pixels), min(recipe.pictures, len(pixels)))
    fit_picture_tokens(model.model.vqmodel, _drawn(shown, pixels), recipe.picture_steps, recipe.seed, say)
    codes = dict(zip(pixels, picture_ids(model, list(pixels.values())), strict=True))
    examples = [[answered(processor.tokenizer, row, codes.get(row)) for row in asked[kind]] for kind in MODALITIES]
    _fit_language(model, processor.tokenizer, examples, recipe, say)
    return model.eval(), processor


def build_model(processor: Any) -> ChameleonForConditionalGeneration:
    """Random weights: width 128, four blocks, sixteen tokens a picture."""
    tokenizer = processor.tokenizer
    pictures = ChameleonVQVAEConfig(
        embed_dim=16, num_embeddings=CODES, latent_channels=32, resolution=SIDE, base_channels=32,
        channel_multiplier=[1, 1, 1, 1], num_res_blocks=1,
    )  # fmt: skip
    config = ChameleonConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, vq_config=pictures,
        vocabulary_map=tokenizer.get_vocab(), bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return ChameleonForConditionalGeneration(config)


def _pixels(processor: Any, request: Request) -> Tensor:
    picture = decode_picture(request.picture or b"")
    pixels: Tensor = processor.image_processor(picture, return_tensors="pt")["pixel_values"][0]
    return pixels


def _drawn(shown: Sequence[Request], pixels: dict[Request, Tensor]) -> Drawn:
    colours = list(COLOURS)
    return Drawn(
        torch.stack([pixels[row] for row in shown]),
        torch.tensor([THINGS.index(row.thing) for row in shown]),
        torch.tensor([colours.index(row.colour) for row in shown]),
    )


def _fit_language(
    model: Any, tokenizer: Any, examples: Sequence[Sequence[Example]], recipe: Recipe, say: Say
) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, recipe.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, recipe.steps, pct_start=0.1)
    model.train()
    model.model.vqmodel.eval()
    for step, rows in enumerate(_batches(tokenizer, examples, recipe)):
        loss = model(**padded(rows, tokenizer.pad_token_id)).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            say(f"learning to answer: step {step} of {recipe.steps}, loss {loss.item():.3f}")


def _batches(tokenizer: Any, examples: Sequence[Sequence[Example]], recipe: Recipe) -> Iterator[list[Example]]:
    """Every modality equally often, whatever its number of examples."""
    dice = random.Random(recipe.seed)
    begun = [begun_refusals(tokenizer, rows) for rows in examples]
    for _ in range(recipe.steps):
        yield [
            dice.choice(dice.choice(begun if dice.random() < recipe.refusals else examples))
            for _ in range(recipe.batch)
        ]
