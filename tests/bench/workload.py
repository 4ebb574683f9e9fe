"""What is asked of every contender: prompts of mixed lengths, and answers whose lengths are lognormal."""

import math
import os
import random
from dataclasses import replace

from autosteer_core.values import Item
from tests.pictures import png

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
SIGMA = 1.0
WORDS = [
    "tell",
    "me",
    "what",
    "you",
    "know",
    "about",
    "the",
    "sea",
    "and",
    "land",
    "in",
    "a",
    "short",
    "letter",
    "to",
    "friends",
]


def scaled(count: int) -> int:
    """A number of items at this run's scale."""
    return max(4, round(count * SCALE))


def texts(count: int, seed: int = 0) -> list[Item]:
    """Questions of 3 to 40 words; no two are equal."""
    luck = random.Random(seed)
    return [
        Item(f"item-{row}", f"{row}: " + " ".join(luck.choices(WORDS, k=luck.randint(3, 40)))) for row in range(count)
    ]


def mixed(count: int, seed: int = 0) -> list[Item]:
    """Text, text with a picture, and a picture alone, in turn."""
    items = []
    for row, item in enumerate(texts(count, seed)):
        picture = png(size=(40 + row % 90, 60 + row % 70))
        shown = replace(item, images=(picture,)) if row % 3 else item
        items.append(replace(shown, text="") if row % 3 == 2 else shown)
    return items


def lognormal(items: list[Item], cap: int, seed: int = 0) -> list[Item]:
    """Each with a length of its own: a median of a fifth of `cap`, sigma 1, cut at `cap`."""
    luck = random.Random(seed)
    return [
        replace(item, max_new_tokens=max(1, min(cap, int(luck.lognormvariate(math.log(cap / 5), SIGMA)))))
        for item in items
    ]


def useful_tokens(items: list[Item]) -> int:
    """Tokens that somebody asked for; what is decoded beyond them is waste."""
    return sum(item.max_new_tokens or 0 for item in items)
