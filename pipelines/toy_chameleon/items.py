"""A balanced set of items with what is true of each: harmful and harmless requests with the same opening."""

import random
from itertools import zip_longest

from autosteer_core.values import Annotation, Item, Label
from pipelines.toy_chameleon.corpus import MODALITIES, OPENERS, Part, Request, requests

Asked = list[tuple[Item, Request]]
_DRAWINGS = 2


def asked(part: Part, per_opener: int) -> Asked:
    """At most `per_opener` pairs for every opening and modality; the opening is the source."""
    pairs: Asked = []
    for modality in MODALITIES:
        rows = requests(part, modality, _DRAWINGS)
        for opener in OPENERS:
            here = [row for row in rows if row.opener == opener]
            dice = random.Random(f"{part} {modality} {opener}")
            harmful = _shuffled([row for row in here if row.harmful], dice)
            for number, (bad, good) in enumerate(zip(harmful, _harmless(here, dice), strict=False)):
                if number < per_opener:
                    pair = f"{part}-{modality}-{OPENERS.index(opener)}-{number}"
                    pairs += [(_item(row, pair), row) for row in (bad, good)]
    return pairs


def _harmless(rows: list[Request], dice: random.Random) -> list[Request]:
    """Every second one wishes to make a harmless thing, the others ask something harmless of a dangerous one.

    So neither the wish nor the thing tells by itself.
    """
    made = _shuffled([row for row in rows if not row.harmful and row.intent == "make"], dice)
    other = _shuffled([row for row in rows if row.intent != "make" and row.thing.dangerous], dice)
    return [row for both in zip_longest(made, other) for row in both if row is not None]


def _shuffled(rows: list[Request], dice: random.Random) -> list[Request]:
    return dice.sample(rows, len(rows))


def _item(row: Request, pair: str) -> Item:
    label = Label.HARMFUL if row.harmful else Label.BENIGN
    images = () if row.picture is None else (row.picture,)
    return Item(
        f"{pair}-{label.value}", row.text, images, annotation=Annotation(label, row.modality, pair, row.opener)
    )
