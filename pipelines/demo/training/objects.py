"""Fine-tunes the trunk to name drawn objects whatever the drawing style."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from autosteer_core.backbones.efficient_trunk import FEATURES, Trunk
from pipelines.demo.training.augment import augmented, premultiplied
from pipelines.demo.training.pretrained_trunk import pretrained_trunk
from pipelines.demo.training.styles import TRAINING, drawings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONCEPTS = Path(__file__).parents[1] / "concepts.json"
FROZEN_BLOCKS = 3
BATCH = 64
SHRINKAGE = 0.3


class Drawn:
    """Every training drawing, and a fair way to draw batches: concept first, then style."""

    def __init__(self, scratch: Path, styles: tuple[str, ...] = TRAINING) -> None:
        codes = [entry["code_point"] for entry in json.loads(CONCEPTS.read_text())]
        found = {style: drawings(style, codes, scratch) for style in styles}
        pairs = [(i, found[style][code]) for i, code in enumerate(codes) for style in styles if code in found[style]]
        self.labels = torch.tensor([label for label, _ in pairs])
        self.rgba = torch.from_numpy(np.stack([array for _, array in pairs]))
        self.of_concept = [torch.nonzero(self.labels == i).flatten() for i in range(len(codes))]

    def batch(self, rng: torch.Generator, size: int = BATCH) -> tuple[Tensor, Tensor]:
        """Augmented RGB and labels."""
        concepts = torch.randint(len(self.of_concept), (size,), generator=rng)
        spots = torch.rand(size, generator=rng)
        rows = [self.of_concept[c][int(s * len(self.of_concept[c]))] for c, s in zip(concepts, spots, strict=True)]
        return augmented(premultiplied(self.rgba[torch.stack(rows)]), rng), concepts


def normalised(rgb: Tensor) -> Tensor:
    """ImageNet mean and deviation, channels last because CPU convolutions are faster that way."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return ((rgb - mean) / std).contiguous(memory_format=torch.channels_last)


def discriminant(features: Tensor, labels: Tensor) -> nn.Linear:
    """Linear discriminant with shrinkage: the closed-form start of the classifier."""
    count = int(labels.max()) + 1
    means = torch.stack([features[labels == i].mean(0) for i in range(count)])
    spread = features - means[labels]
    cov = spread.T @ spread / len(features)
    cov = (1 - SHRINKAGE) * cov + SHRINKAGE * torch.eye(FEATURES) * cov.diagonal().mean()
    weight = torch.linalg.solve(cov, (means - means.mean(0)).T).T
    bias = -0.5 * (weight * (means + means.mean(0))).sum(1)
    logits = features @ weight.T + bias
    scales = torch.logspace(-3, 0.3, 40)
    losses = torch.stack([F.cross_entropy(logits * s, labels) for s in scales])
    scale = scales[losses.argmin()]
    head = nn.Linear(FEATURES, count)
    head.weight.data, head.bias.data = weight * scale, bias * scale
    return head


def early(trunk: Trunk, x: Tensor) -> Tensor:
    """The frozen first blocks."""
    with torch.no_grad():
        x = F.relu6(trunk.stem(x))
        for block in trunk.blocks[:FROZEN_BLOCKS]:
            x = block(x)
    return x


def late(trunk: Trunk, x: Tensor) -> Tensor:
    """The tuned blocks and the mean over positions."""
    for block in trunk.blocks[FROZEN_BLOCKS:]:
        x = block(x)
    return F.relu6(trunk.head(x)).mean((-2, -1))


def started_head(trunk: Trunk, drawn: Drawn, rng: torch.Generator, batches: int = 24) -> nn.Linear:
    """The discriminant of augmented training drawings."""
    features, labels = [], []
    for _ in range(batches):
        rgb, label = drawn.batch(rng, 2 * BATCH)
        with torch.no_grad():
            features.append(trunk(normalised(rgb)))
        labels.append(label)
    return discriminant(torch.cat(features), torch.cat(labels))


def train(scratch: Path, minutes: float, out: Path, *, seed: int = 0, resume: bool = False) -> None:
    """Save the averaged trunk and classifier; with `resume`, go on from what `out` holds, more gently."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    drawn, trunk = Drawn(scratch), pretrained_trunk()
    for weight in trunk.parameters():
        weight.data = weight.data.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight.data
    head = nn.Linear(FEATURES, len(drawn.of_concept)) if resume else started_head(trunk, drawn, rng)
    tops = (2e-4, 5e-4) if resume else (4e-4, 1e-3)
    if resume:
        nn.ModuleDict({"trunk": trunk, "head": head}).load_state_dict(load_file(out))
    tuned = [p for block in trunk.blocks[FROZEN_BLOCKS:] for p in block.parameters()] + [*trunk.head.parameters()]
    groups = [{"params": tuned, "lr": tops[0]}, {"params": [*head.parameters()], "lr": tops[1]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    parts = nn.ModuleDict({"trunk": trunk, "head": head})
    average = torch.optim.swa_utils.AveragedModel(
        parts, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    began, total, seen = time.monotonic(), minutes * 60, []
    step = 0
    while (share := (time.monotonic() - began) / total) < 1:
        for group, top in zip(optimizer.param_groups, tops, strict=True):
            group["lr"] = top * min(1.0, step / 20) * max(0.02, 1 - share)
        rgb, labels = drawn.batch(rng)
        logits = head(F.dropout(late(trunk, early(trunk, normalised(rgb))), 0.2))
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        average.update_parameters(parts)
        seen.append((logits.argmax(1) == labels).float().mean().item())
        step += 1
        if step % 20 == 0:
            print(f"{step} {share:.2f} loss {loss:.2f} right {np.mean(seen[-20:]):.3f}", flush=True)
        if step % 100 == 0:
            _save(average.module, out)
    _save(average.module, out)


def _save(parts: nn.Module, out: Path) -> None:
    save_file({name: value.contiguous() for name, value in parts.state_dict().items()}, out)
