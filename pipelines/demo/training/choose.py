"""Chooses the concepts from the candidates by looking at the two main training styles only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipelines.demo.training.evaluate import style_features
from pipelines.demo.training.pretrained_trunk import pretrained_trunk
from pipelines.demo.training.registry_files import npm_folder
from pipelines.demo.training.styles import PACKAGES

CANDIDATES = Path(__file__).parent / "candidates.txt"
KEPT = 250
# The demo's manifests and everyday variety need these, however alike they look.
NEEDED = """bomb firecracker knife dagger gun axe bow_and_arrow syringe pill cigarette coffin skull biohazard_sign
radioactive_sign flask test_tube petri_dish microbe chains razor saw hammer mushroom snake scorpion fire
oil_drum credit_card identification_card key money bank laptop phone video_camera satellite_dish
ballot_box pizza cake bread cookie chair guitar bicycle shirt candle scarf basket teapot kite teddy_bear
lantern book clock umbrella flower tree cat dog airplane apple sunflower banana car house door bed broom
bucket ladder flashlight radio camera television balloon gift cheese egg lock scissors fish horse rabbit
duck"""
# Second drawings of a thing that is kept, and things without an everyday name.
DROPPED = """stoplight old_key long_drum pager goal martial_arts_uniform movie_camera purse telephone_receiver herb"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A drawable thing: code point, name, other names."""

    code_point: str
    name: str
    also: tuple[str, ...]


def listed(names: str) -> set[str]:
    """Names from a block of text, where spaces are written as underscores."""
    return {name.replace("_", " ") for name in names.split()}


def candidates(scratch: Path) -> list[Candidate]:
    """In the order of the file; each line is an emoji short name, then the names."""
    emoji = json.loads((npm_folder(PACKAGES["google"], scratch) / "emoji.json").read_text())
    code = {short: entry["unified"] for entry in emoji for short in entry["short_names"]}
    pairs = [line.split("=") for line in CANDIDATES.read_text().splitlines()]
    return [Candidate(code[short], *_names(names)) for short, names in pairs]


def _names(text: str) -> tuple[str, tuple[str, ...]]:
    name, *also = text.split("|")
    return name, tuple(also)


def chosen(scratch: Path) -> list[Candidate]:
    """Remove the most confusable candidate, again and again, until few enough are left."""
    known = candidates(scratch)
    trunk, codes = pretrained_trunk().eval(), [candidate.code_point for candidate in known]
    google, twitter = (style_features(trunk, style, codes, scratch) for style in ("google", "twitter"))
    alike, alive = google @ twitter.T, list(range(len(known)))
    while len(alive) > KEPT:
        order = margins(alike[alive][:, alive]).argsort().tolist()
        alive.remove(next(alive[k] for k in order if known[alive[k]].name not in listed(NEEDED)))
    return [known[i] for i in alive if known[i].name not in listed(DROPPED)]


def margins(alike: Tensor) -> Tensor:
    """How much closer a concept is to itself in the other style than to any other concept."""
    own, others = alike.diagonal(), alike.clone().fill_diagonal_(-torch.inf)
    return own - torch.maximum(others.max(1).values, others.max(0).values)
