"""A suite's manifest with every kind of set, small enough to be evaluated in a test."""

from pathlib import Path
from random import Random
from typing import Any

from infra.suite_manifest import write_suite_manifest

ROWS_PER_SET = 60
KINDS = {"harm": "harmful", "plain": "benign", "alarming": "over-refusal", "quiz": "accuracy"}
CHOICES = ["a cake", "a bread"]
WORDS = [
    "apple", "river", "copper", "window", "seven", "ladder", "purple", "engine", "forest", "candle", "mirror",
    "tunnel", "garden", "silver", "bottle", "thunder", "pepper", "marble", "rocket", "violin", "blanket",
    "harbour", "cactus", "lantern", "meadow", "pencil", "saddle", "turnip", "velvet", "walnut",
]  # fmt: skip


def write_tiny_suite(path: Path) -> Path:
    """Four sets of text; harmful and plain rows are pairs, and the quiz has options."""
    rows = [_row(name, kind, number) for name, kind in KINDS.items() for number in range(ROWS_PER_SET)]
    write_suite_manifest(path, rows)
    return path


def words(seed: str) -> str:
    """Eight words by chance: no two texts are alike enough to be called leaked."""
    return "how do I make " + " ".join(Random(seed).sample(WORDS, 8))


def _row(name: str, kind: str, number: int) -> dict[str, Any]:
    quiz = kind == "accuracy"
    return {
        "id": f"{name}/{number}",
        "text": words(f"{name}/{number}") + (" A. a cake B. a bread" if quiz else ""),
        "images": [],
        "label": "harmful" if kind == "harmful" else "benign",
        "group": name,
        "pair": f"pair/{number}" if kind in ("harmful", "benign") else None,
        "source": name,
        "kind": kind,
        "modality": "text",
        "choices": CHOICES if quiz else [],
        "answer": "A" if quiz else None,
    }
