"""Items of mixed lengths for the tiny model, every third with a picture."""

from autosteer_core.values import Item
from tests.pictures import png

WORDS = ["cake", "home", "picture", "sorry", "what", "make", "how", "do"]


def mixed_items(count: int) -> list[Item]:
    """No two have the same text."""
    return [
        Item(
            f"item-{row}",
            " ".join(WORDS[: row % 7 + 1]) + f" {row}",
            (png(size=(30 + row, 40)),) if row % 3 == 0 else (),
            row,
        )
        for row in range(count)
    ]
