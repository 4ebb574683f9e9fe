"""Fits the picture tokenizer: an encoder that can be drawn back and named from, then a k-means codebook."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures (N, 3, S, S) in [-1, 1] and what is on them: thing and colour by number, (N,)."""

    pixels_N3SS: Tensor
    thing_N: Tensor
    colour_N: Tensor


class _Reader(nn.Module):
    """Judges the encoder while it learns, thrown away after: redraws the picture, names thing and colour.

    It is told thing and colour, never harm. Plain reconstruction would spend the few codes on position and ground;
    the tokenizer of Make-A-Scene, which Chameleon uses, weighs salient parts of the picture more for the same reason.
    """

    def __init__(self, latent: int, things: int, colours: int) -> None:
        super().__init__()
        self.redraw = nn.Sequential(nn.Conv2d(latent, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 3 * 64, 1))
        self.thing, self.colour = _namer(latent, things), _namer(latent, colours)

    def loss(self, latent_NDHW: Tensor, drawn: Drawn) -> Tensor:
        picture = nn.functional.pixel_shuffle(self.redraw(latent_NDHW), 8)
        return (
            mse_loss(picture, drawn.pixels_N3SS)
            + cross_entropy(self.thing(latent_NDHW), drawn.thing_N)
            + 0.5 * cross_entropy(self.colour(latent_NDHW), drawn.colour_N)
        )


def _namer(latent: int, names: int) -> nn.Sequential:
    """Reads the whole grid of 4 x 4 cells."""
    return nn.Sequential(nn.Conv2d(latent, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, names))


def fit_picture_tokens(vqvae: Any, drawn: Drawn, steps: int, seed: int, say: Callable[[str], None]) -> None:
    """Train encoder, then codebook, in place; the tokenizer is frozen after it."""
    torch.manual_seed(seed)
    reader = _Reader(vqvae.config.embed_dim, int(drawn.thing_N.max()) + 1, int(drawn.colour_N.max()) + 1)
    weights = [*vqvae.encoder.parameters(), *vqvae.quant_conv.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(weights, 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.15)
    for step in range(steps):
        batch = _take(drawn, torch.randint(len(drawn.thing_N), (_BATCH,)))
        loss = reader.loss(_latent(vqvae, batch.pixels_N3SS), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            say(f"learning picture tokens: step {step} of {steps}, loss {loss.item():.3f}")
    _fit_codebook(vqvae, drawn.pixels_N3SS, seed)
    vqvae.eval().requires_grad_(False)


def _take(drawn: Drawn, rows: Tensor) -> Drawn:
    return Drawn(drawn.pixels_N3SS[rows], drawn.thing_N[rows], drawn.colour_N[rows])


def _latent(vqvae: Any, pixels_N3SS: Tensor) -> Tensor:
    latent: Tensor = vqvae.quant_conv(vqvae.encoder(pixels_N3SS))
    return latent


@torch.no_grad()
def _fit_codebook(vqvae: Any, pixels_N3SS: Tensor, seed: int) -> None:
    cells = [_latent(vqvae, part).permute(0, 2, 3, 1).flatten(0, 2) for part in pixels_N3SS.split(_BATCH)]
    codebook = vqvae.quantize.embedding.weight
    means = MiniBatchKMeans(len(codebook), random_state=seed, n_init=1, batch_size=2048, max_iter=20)
    with threadpool_limits(limits=1):
        means.fit(torch.cat(cells).numpy())
    codebook.copy_(torch.from_numpy(means.cluster_centers_))


def picture_ids(model: Any, pixels: Sequence[Tensor]) -> list[list[int]]:
    """The image tokens of many pictures (3, S, S), by the model's own tokenizer."""
    with torch.inference_mode():
        return [
            row
            for start in range(0, len(pixels), 64)
            for row in model.get_image_tokens(torch.stack(list(pixels[start : start + 64]))).tolist()
        ]
