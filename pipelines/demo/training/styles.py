"""The drawings of each concept in each style, as RGBA arrays of one size."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.demo.training.registry_files import npm_folder

SIDE = 128
TRAINING = ("google", "twitter", "noto-v1", "fxemoji", "emojione")
HELD_OUT = ("fluent", "facebook")
PACKAGES = {
    "google": "emoji-datasource-google@16.0.0",
    "twitter": "emoji-datasource-twitter@16.0.0",
    "facebook": "emoji-datasource-facebook@16.0.0",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
    "noto-v1": "@iconify-json/noto-v1@1.2.5",
    "fxemoji": "@iconify-json/fxemoji@1.2.2",
    "emojione": "@iconify-json/emojione@1.2.3",
    "names": "@iconify-json/noto@1.2.9",
}
Drawing = Callable[[str], Image.Image | None]


def drawings(style: str, code_points: list[str], scratch: Path) -> dict[str, np.ndarray]:
    """Code point (as in concepts.json) -> RGBA square; concepts that the style never drew are absent."""
    draw = _bitmaps(style, scratch) if style in ("google", "twitter", "facebook") else _other(style, scratch)
    found = {code: draw(code) for code in code_points}
    return {code: _square(image) for code, image in found.items() if image is not None}


def _square(image: Image.Image) -> np.ndarray:
    """Resize; every source is square already."""
    return np.asarray(image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _plain(code: str) -> str:
    """Code points without the variation selector, which styles disagree about."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def _bitmaps(style: str, scratch: Path) -> Drawing:
    folder = npm_folder(PACKAGES[style], scratch) / "img" / style / "64"
    files = {_plain(path.stem): path for path in folder.glob("*.png")}
    return lambda code: Image.open(files[_plain(code)]) if _plain(code) in files else None


def _other(style: str, scratch: Path) -> Drawing:
    return _fluent(scratch) if style == "fluent" else _vectors(style, scratch)


def _fluent(scratch: Path) -> Drawing:
    folder = npm_folder(PACKAGES["fluent"], scratch) / "assets"
    files = {_plain(path.stem): path for path in folder.glob("*.webp")}
    return lambda code: Image.open(files[_plain(code)]) if _plain(code) in files else None


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _vectors(style: str, scratch: Path) -> Drawing:
    """An icon set that is keyed by names: any known name of the code point that it has."""
    folder = npm_folder(PACKAGES[style], scratch)
    icons = json.loads((folder / "icons.json").read_text())
    by_name = {_squeezed(name): name for name in icons["icons"]}
    names = known_names(scratch)

    def draw(code: str) -> Image.Image | None:
        hit = next((by_name[name] for name in names.get(_plain(code), []) if name in by_name), None)
        return _rendered(icons, hit) if hit else None

    return draw


def _rendered(icons: dict[str, dict[str, dict[str, str]]], name: str) -> Image.Image:
    import resvg_py

    body, size = icons["icons"][name]["body"], icons.get("width", 128)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {size} {size}" width="{SIDE}" height="{SIDE}">{body}</svg>'
    )
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))


def known_names(scratch: Path) -> dict[str, list[str]]:
    """Code point -> squeezed names, from Unicode (through the Noto icon set) and the emoji data source."""
    names: dict[str, list[str]] = {}
    for code, name in json.loads((npm_folder(PACKAGES["names"], scratch) / "chars.json").read_text()).items():
        names.setdefault(_plain(code), []).append(_squeezed(name))
    for entry in json.loads((npm_folder(PACKAGES["google"], scratch) / "emoji.json").read_text()):
        known = names.setdefault(_plain(entry["unified"]), [])
        known += [_squeezed(name) for name in [entry["name"], *entry["short_names"]]]
    return names
