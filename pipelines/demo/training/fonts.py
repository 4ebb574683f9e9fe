"""The fonts that words are drawn in: families to train on, and families kept for the test."""

from __future__ import annotations

from pathlib import Path

from pipelines.demo.training.registry_files import npm_folder

TRAINING = {
    "open-sans": "0.4.2",
    "lato": "0.4.1",
    "merriweather": "0.4.2",
    "montserrat": "0.4.2",
    "oswald": "0.4.2",
    "courier-prime": "0.4.1",
    "playfair-display": "0.4.2",
    "roboto-slab": "0.4.2",
    "nunito": "0.4.2",
    "bitter": "0.4.2",
    "inconsolata": "0.4.2",
    "comic-neue": "0.4.1",
    "anton": "0.4.2",
    "raleway": "0.4.2",
    "pt-serif": "0.4.1",
    "source-sans-3": "0.4.1",
    "patrick-hand": "0.4.1",
    "roboto-mono": "0.4.2",
}
HELD_OUT = {"inter": "0.4.2", "lora": "0.4.2", "quicksand": "0.4.1", "fira-sans": "0.4.1"}
CUTS = ("300Light", "400Regular", "400Regular_Italic", "700Bold", "900Black")


def font_files(families: dict[str, str], scratch: Path, cuts: tuple[str, ...] = CUTS) -> list[Path]:
    """Every wanted weight and slant of the families."""
    folders = [npm_folder(f"@expo-google-fonts/{name}@{version}", scratch) for name, version in families.items()]
    return [file for folder in folders for cut in cuts for file in sorted((folder / cut).glob("*.ttf"))]
