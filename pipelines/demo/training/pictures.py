"""Writes the small pictures and fonts that the demo carries."""

from __future__ import annotations

import shutil
from pathlib import Path

from fontTools import subset
from PIL import Image

from pipelines.demo.drawing import FONTS
from pipelines.demo.naming import concepts
from pipelines.demo.training.fonts import HELD_OUT, TRAINING
from pipelines.demo.training.registry_files import npm_folder
from pipelines.demo.training.styles import drawings

PICTURES = Path(__file__).parents[1] / "pictures"
CARRIED = {"noto": "google", "twemoji": "twitter", "fluent": "fluent"}
FACES = ("open-sans", "merriweather", "oswald", "inter", "lora")
SIDE = 72
COLOURS = 64


def on_white(rgba: Image.Image, side: int = SIDE) -> Image.Image:
    """Opaque, because a converter may show whatever colour hides under transparency."""
    ground = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(ground, rgba).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def write_pictures(scratch: Path) -> None:
    """One folder per style; concept names with spaces become file names with underscores."""
    known = concepts()
    for folder, style in CARRIED.items():
        drawn = drawings(style, [concept.code_point for concept in known], scratch)
        (PICTURES / folder).mkdir(parents=True, exist_ok=True)
        for concept in (concept for concept in known if concept.code_point in drawn):
            picture = on_white(Image.fromarray(drawn[concept.code_point]))
            small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(PICTURES / folder / f"{concept.name.replace(' ', '_')}.png", optimize=True)


def write_fonts(scratch: Path) -> None:
    """Regular weight, ASCII only, with each family's licence beside it."""
    FONTS.mkdir(exist_ok=True)
    for family in FACES:
        package = npm_folder(f"@expo-google-fonts/{family}@{(TRAINING | HELD_OUT)[family]}", scratch)
        name = family.replace("-", "_")
        source = next((package / "400Regular").glob("*.ttf"))
        subset.main([str(source), "--unicodes=U+0020-007E", f"--output-file={FONTS / name}.ttf"])
        shutil.copyfile(package / "LICENSE_FONT", FONTS / f"{name}.LICENSE.txt")
