"""Random changes of drawing style, colour, place and background, on whole batches of RGBA drawings."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 128


def augmented(rgba_B4HW: Tensor, rng: torch.Generator) -> Tensor:
    """RGB in [0, 1] on random backgrounds; hard on purpose, because the styles to come are unknown."""
    x = _moved(rgba_B4HW, rng)
    rgb, alpha = x[:, :3], x[:, 3:].clamp(0, 1)
    rgb = rgb / alpha.clamp(min=1e-3)
    rgb = _thickened(rgb, rng)
    rgb = _shaded(rgb.clamp(0, 1), alpha, rng)
    rgb = _recoloured(rgb, rng).clamp(0, 1)
    rgb = rgb * alpha + _background(len(rgb), rng) * (1 - alpha)
    return _worn(rgb, rng).clamp(0, 1)


def premultiplied(rgba_BHW4: Tensor) -> Tensor:
    """uint8 to float, colour times opacity, so that resampling leaves no dark fringe."""
    x = rgba_BHW4.permute(0, 3, 1, 2).float() / 255
    return torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)


def _uniform(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return torch.rand(count, generator=rng) * (high - low) + low


def _sometimes(rng: torch.Generator, count: int, chance: float) -> Tensor:
    return (torch.rand(count, generator=rng) < chance).float()[:, None, None, None]


def _moved(x: Tensor, rng: torch.Generator) -> Tensor:
    """Scale, turn, shear, mirror, shift and bend."""
    n = len(x)
    turn = _uniform(rng, n, -25, 25) * math.pi / 180
    scale, stretch = _uniform(rng, n, 0.95, 1.65), _uniform(rng, n, 0.85, 1.18)
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    shear = _uniform(rng, n, -0.2, 0.2)
    cos, sin = turn.cos() * scale, turn.sin() * scale
    free = (scale - 0.9).clamp(0, 0.5)
    shift_x, shift_y = _uniform(rng, n, -1, 1) * free, _uniform(rng, n, -1, 1) * free
    top = torch.stack([cos * mirror * stretch, -sin + shear, shift_x], 1)
    low = torch.stack([sin * mirror, cos / stretch, shift_y], 1)
    grid = F.affine_grid(torch.stack([top, low], 1), [n, 4, SIDE, SIDE], align_corners=False)
    bend = F.interpolate(torch.randn(n, 2, 5, 5, generator=rng) * 0.05, SIDE, mode="bicubic", align_corners=True)
    grid = grid + bend.permute(0, 2, 3, 1) * _sometimes(rng, n, 0.6)
    return F.grid_sample(x, grid, align_corners=False)


def _thickened(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Grow the dark lines, or the light areas."""
    n = len(rgb)
    grow, shrink = _sometimes(rng, n, 0.15), _sometimes(rng, n, 0.15)
    light = F.max_pool2d(rgb, 3, 1, 1)
    dark = -F.max_pool2d(-rgb, 3, 1, 1)
    rgb = light * grow + rgb * (1 - grow)
    return dark * shrink + rgb * (1 - shrink)


def _blurred(x: Tensor, size: int) -> Tensor:
    once = F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
    return F.avg_pool2d(once, size, 1, size // 2, count_include_pad=False)


def _shaded(rgb: Tensor, alpha: Tensor, rng: torch.Generator) -> Tensor:
    """Light the flat drawing as if its outline and its tones were relief."""
    n = len(rgb)
    tones = torch.cat([alpha, rgb.mean(1, True)], 1)
    coarse = F.interpolate(_blurred(F.avg_pool2d(tones, 4), 3), SIDE, mode="bilinear")
    relief = coarse[:, :1] + _uniform(rng, n, 0, 0.8)[:, None, None, None] * coarse[:, 1:]
    slope_x = relief[..., 1:-1, 2:] - relief[..., 1:-1, :-2]
    slope_y = relief[..., 2:, 1:-1] - relief[..., :-2, 1:-1]
    angle = _uniform(rng, n, 0, 2 * math.pi)[:, None, None, None]
    light = F.pad(slope_x * angle.cos() + slope_y * angle.sin(), (1, 1, 1, 1))
    amount = _uniform(rng, n, 0, 5.0)[:, None, None, None] * _sometimes(rng, n, 0.6)
    ramp = torch.linspace(-1, 1, SIDE)
    slant = ramp[None, None, None, :] * angle.cos() + ramp[None, None, :, None] * angle.sin()
    soft = slant * _uniform(rng, n, 0, 0.3)[:, None, None, None]
    return rgb * (1 + soft) + light * amount * 0.5


def _recoloured(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation, hue; some drawings turn grey."""
    n = len(rgb)
    shape = (n, 1, 1, 1)
    rgb = rgb * _uniform(rng, n, 0.65, 1.3).view(shape) + _uniform(rng, n, -0.12, 0.12).view(shape)
    rgb = (rgb - 0.5) * _uniform(rng, n, 0.65, 1.4).view(shape) + 0.5
    grey = rgb.mean(1, keepdim=True)
    saturation = _uniform(rng, n, 0.4, 1.5).view(shape) * (1 - _sometimes(rng, n, 0.08))
    rgb = grey + (rgb - grey) * saturation
    wide = _sometimes(rng, n, 0.15).view(n)
    mix = _hue_turn(torch.randn(n, generator=rng) * (0.2 + 1.5 * wide))
    tint = torch.randn(n, 3, 1, 1, generator=rng) * 0.05
    return torch.einsum("bij,bjhw->bihw", mix, rgb) + tint


def _hue_turn(angle_B: Tensor) -> Tensor:
    """Rotation about the grey axis of colour space."""
    cos, sin = angle_B.cos(), angle_B.sin()
    same, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin / 3**0.5, (1 - cos) / 3 + sin / 3**0.5
    rows = [torch.stack(r, 1) for r in ((same, left, right), (right, same, left), (left, right, same))]
    return torch.stack(rows, 1)


def _background(n: int, rng: torch.Generator) -> Tensor:
    """Mostly white; else black, one colour, or a ramp between two colours."""
    kind = torch.rand(n, generator=rng)
    one, two = torch.rand(n, 3, 1, 1, generator=rng), torch.rand(n, 3, 1, 1, generator=rng)
    one = torch.where((kind < 0.5)[:, None, None, None], torch.ones_like(one), one)
    one = torch.where(((kind >= 0.5) & (kind < 0.6))[:, None, None, None], torch.zeros_like(one), one)
    two = torch.where((kind < 0.85)[:, None, None, None], one, two)
    ramp = torch.linspace(0, 1, SIDE)[None, None, :, None]
    return (one * ramp + two * (1 - ramp)).expand(-1, -1, -1, SIDE)


def _worn(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Blur, coarse pixels, noise and a covered corner."""
    n = len(rgb)
    soft = _sometimes(rng, n, 0.3)
    rgb = _blurred(rgb, 3) * soft + rgb * (1 - soft)
    coarse = _sometimes(rng, n, 0.3)
    small = F.interpolate(rgb, SIDE // 2 - 8, mode="bilinear", antialias=True)
    rgb = F.interpolate(small, SIDE, mode="bilinear") * coarse + rgb * (1 - coarse)
    rgb = rgb + torch.randn(rgb.shape, generator=rng) * 0.04 * _sometimes(rng, n, 0.3)
    place = torch.rand(n, 2, generator=rng) * 0.8
    size = _uniform(rng, n, 0.15, 0.35)
    ramp = torch.linspace(0, 1, SIDE)
    across = (ramp[None] > place[:, :1]) & (ramp[None] < (place[:, 0] + size)[:, None])
    down = (ramp[None] > place[:, 1:]) & (ramp[None] < (place[:, 1] + size)[:, None])
    hole = (across[:, None, None, :] & down[:, None, :, None]).float() * _sometimes(rng, n, 0.3)
    return rgb * (1 - hole) + torch.rand(n, 3, 1, 1, generator=rng) * hole
