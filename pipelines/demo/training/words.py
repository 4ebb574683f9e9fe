"""Trains the word reader to spell drawn words in many fonts."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from autosteer_core.backbones.word_reader import BLANK, LAYERS, LETTERS, WordReader, line_of
from pipelines.demo.drawing import draw_word
from pipelines.demo.training.fonts import TRAINING, font_files
from pipelines.demo.training.objects import normalised

WORDS = Path(__file__).parents[1] / "words.txt"
SIDE = 160
BATCH = 64
INVENTED = 0.25


def vocabulary() -> list[str]:
    """The words that the reader knows, in the order of its memory."""
    return WORDS.read_text().split()


def spelled(words: list[str]) -> Tensor:
    """Letters as numbers, filled up with the blank."""
    rows = torch.full((len(words), max(map(len, words))), BLANK, dtype=torch.uint8)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = torch.tensor([LETTERS.index(letter) for letter in word])
    return rows


def worn_word(word: str, font: Path, seed: int) -> Image.Image:
    """A drawn word after squeezing, slanting, blur and noise, at the size the tower sees."""
    dice = random.Random(seed)
    picture = draw_word(word, font, dice.choice((128, 192, 256)), seed)
    if dice.random() < 0.4:
        slant, squeeze = dice.uniform(-0.3, 0.3), dice.uniform(0.85, 1.3)
        middle, ground = picture.width / 2, picture.getpixel((0, 0))
        matrix = (squeeze, slant, middle * (1 - squeeze - slant), 0.0, 1.0, 0.0)
        picture = picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=ground
        )
    picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if dice.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(dice.uniform(0.3, 1.1)))
    if dice.random() < 0.3:
        noise = np.random.default_rng(seed).normal(0, dice.uniform(2, 12), (SIDE, SIDE, 3))
        picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    return picture


def as_tensor(pictures: list[Image.Image]) -> Tensor:
    """Float RGB in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float() / 255


class TrainedReader(WordReader):
    """The reader with batch normalisation after each picture layer, to be folded away after training."""

    def __init__(self, words: int, word_letters: int) -> None:
        super().__init__(words, word_letters)
        self.layers = nn.ModuleList(
            nn.Sequential(layer, nn.BatchNorm2d(LAYERS[i][1])) for i, layer in enumerate(self.layers)
        )

    def folded(self) -> WordReader:
        """The same function as plain convolutions."""
        plain = WordReader(*self.spelling.shape)
        self.eval()
        pairs: list[Any] = list(self.layers)
        fused = [nn.utils.fusion.fuse_conv_bn_eval(pair[0], pair[1]) for pair in pairs]
        self.layers = nn.ModuleList(fused)
        plain.load_state_dict(self.state_dict())
        return plain


def _batch(words: list[str], fonts: list[Path], dice: random.Random) -> tuple[Tensor, list[str]]:
    """Vocabulary words, and invented letter strings so that spelling is not guessed from the vocabulary."""
    chosen = [dice.choice(words) for _ in range(BATCH)]
    invented = ["".join(dice.choices(LETTERS, k=dice.randint(3, 10))) for _ in range(BATCH)]
    texts = [new if dice.random() < INVENTED else word for new, word in zip(invented, chosen, strict=True)]
    pictures = [worn_word(text, dice.choice(fonts), dice.getrandbits(31)) for text in texts]
    return as_tensor(pictures), texts


def train(scratch: Path, minutes: float, out: Path, seed: int = 0) -> None:
    """Connectionist temporal classification on letters; saves the folded reader with its lexicon."""
    torch.manual_seed(seed)
    dice, words, fonts = random.Random(seed), vocabulary(), font_files(TRAINING, scratch)
    spelling = spelled(words)
    reader = TrainedReader(*spelling.shape)
    reader.spelling.copy_(spelling)
    optimizer = torch.optim.AdamW(reader.parameters(), weight_decay=0.01)
    began, step = time.monotonic(), 0
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(_batch, words, fonts, dice)
        while (share := (time.monotonic() - began) / (minutes * 60)) < 1:
            rgb, texts = waiting.result()
            waiting = ahead.submit(_batch, words, fonts, dice)
            for group in optimizer.param_groups:
                group["lr"] = 2.5e-3 * min(1.0, (step + 1) / 50) * max(0.01, 1 - share)
            loss = _loss(reader, rgb, texts)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reader.parameters(), 2.0)
            optimizer.step()
            step += 1
            if step % 50 == 0:
                print(f"{step} {share:.2f} loss {loss.item():.3f}", flush=True)
    save_file(reader.folded().state_dict(), out)


def _loss(reader: WordReader, rgb: Tensor, texts: list[str]) -> Tensor:
    logits = reader.letter_logits(line_of(normalised(rgb)))
    targets = spelled(texts).long()
    lengths = torch.tensor([len(text) for text in texts])
    columns = torch.full((len(texts),), logits.shape[1])
    log_TBL = logits.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(log_TBL, targets, columns, lengths, blank=BLANK, zero_infinity=True)
