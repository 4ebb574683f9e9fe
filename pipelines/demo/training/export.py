"""Joins the trained parts into the committed weights file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from autosteer_core.backbones.efficient_trunk import FEATURES, Trunk
from pipelines.demo.model import WEIGHTS
from pipelines.demo.training.fonts import TRAINING, font_files
from pipelines.demo.training.objects import Drawn, normalised
from pipelines.demo.training.words import as_tensor, vocabulary, worn_word

# Label smoothing leaves the classifier unsure of what it knows; the memory is read with a sharper softmax.
SHARPER = 2.0


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def tuned_trunk(objects: Path) -> Trunk:
    """The trunk after fine-tuning."""
    trunk = Trunk()
    trunk.load_state_dict(part(load_file(objects), "trunk."))
    return trunk.eval()


def word_detector(trunk: Trunk, scratch: Path, batches: int = 12, seed: int = 1) -> nn.Linear:
    """Logistic regression on trunk features: a written word, or a drawn object?"""
    rng, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    drawn, fonts, words = Drawn(scratch), font_files(TRAINING, scratch), vocabulary()
    features, kinds = [], []
    for _ in range(batches):
        texts = [worn_word(dice.choice(words), dice.choice(fonts), dice.getrandbits(31)) for _ in range(64)]
        small = F.interpolate(as_tensor(texts), (128, 128), mode="bilinear")
        rgb = torch.cat([small, drawn.batch(rng)[0]])
        with torch.no_grad():
            features.append(trunk(normalised(rgb)))
        kinds.append(torch.cat([torch.ones(64), torch.zeros(64)]))
    x, y = torch.cat(features), torch.cat(kinds)
    head = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.01)
    for _ in range(400):
        loss = F.binary_cross_entropy_with_logits(head(x)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"word detector: {((head(x)[:, 0] > 0) == (y > 0.5)).float().mean():.4f} right on training pictures")
    return head


def export(objects: Path, reader: Path, memory: Path, scratch: Path, folder: Path = WEIGHTS) -> None:
    """Half precision; the buffer of spellings stays whole numbers."""
    classifier, spoken = part(load_file(objects), "head."), load_file(memory)
    concepts = len(classifier["bias"])
    detector = word_detector(tuned_trunk(objects), scratch)
    tower = {f"trunk.{name}": value for name, value in part(load_file(objects), "trunk.").items()}
    tower |= {f"concept_keys.{name}": value * SHARPER for name, value in classifier.items()}
    tower |= {f"is_word.{name}": value for name, value in detector.state_dict().items()}
    tower |= {f"reader.{name}": value for name, value in load_file(reader).items()}
    tower |= {"concept_memory": spoken["values"][:concepts], "word_memory": spoken["values"][concepts:]}
    tensors = {f"vision_tower.{name}": value for name, value in tower.items()}
    tensors |= {f"multi_modal_projector.{name}": spoken[name] for name in spoken if name.startswith("linear")}
    tensors["image_newline"] = spoken["newline"]
    half = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in half.items()}, folder / "tower.safetensors")
    spelling = tower["reader.spelling"]
    sizes = {
        "concepts": concepts,
        "words": len(spelling),
        "word_letters": spelling.shape[1],
        "hidden_size": spoken["values"].shape[-1],
    }
    (folder / "tower.json").write_text(json.dumps(sizes, indent=2) + "\n")
