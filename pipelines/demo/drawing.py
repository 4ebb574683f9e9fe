"""Draws one word as a picture, the same picture for the same seed."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path(__file__).parent / "fonts"
TRAINING_FONTS = ("open_sans.ttf", "merriweather.ttf", "oswald.ttf")
HELD_OUT_FONTS = ("inter.ttf", "lora.ttf")
Colour = tuple[int, int, int]
SHARPNESS = 64
LEAST_CONTRAST = 110


def draw_word(word: str, font: Path, size: int = 192, seed: int = 0) -> Image.Image:
    """A square picture; place, width, case, slight turn and readable colours follow from the seed."""
    dice = random.Random(f"{seed} {word} {font.name}")
    ink, ground = _colours(dice)
    mask = _mask(_cased(word, dice), font)
    width = int(size * min(0.94, dice.uniform(0.55, 0.94) * (0.55 + 0.06 * len(word))))
    height = max(8, int(mask.height * width / mask.width * dice.uniform(0.9, 1.15)))
    if height > 0.7 * size:
        width, height = max(8, int(width * 0.7 * size / height)), int(0.7 * size)
    mask = mask.resize((width, height), Image.Resampling.LANCZOS)
    mask = mask.rotate(dice.uniform(-5, 5), Image.Resampling.BICUBIC, expand=True)
    mask.thumbnail((size - 4, size - 4))
    picture = Image.new("RGB", (size, size), ground)
    place = (dice.randint(2, size - mask.width - 2), dice.randint(2, size - mask.height - 2))
    picture.paste(Image.new("RGB", mask.size, ink), place, mask)
    return picture


def _cased(word: str, dice: random.Random) -> str:
    return dice.choice((word.lower(), word.lower(), word.upper(), word.capitalize()))


def _mask(text: str, font: Path) -> Image.Image:
    """The letters in white on black, cut to their outline."""
    letters = ImageFont.truetype(str(font), SHARPNESS)
    left, top, right, bottom = letters.getbbox(text)
    mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(mask).text((2 - left, 2 - top), text, font=letters, fill=255)
    return mask


def _luminance(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _colours(dice: random.Random) -> tuple[Colour, Colour]:
    """Black on white half of the time; otherwise two colours far enough apart to be read."""
    if dice.random() < 0.5:
        return (0, 0, 0), (255, 255, 255)
    while True:
        ink, ground = _colour(dice), _colour(dice)
        if abs(_luminance(ink) - _luminance(ground)) > LEAST_CONTRAST:
            return ink, ground


def _colour(dice: random.Random) -> Colour:
    return dice.randint(0, 255), dice.randint(0, 255), dice.randint(0, 255)
