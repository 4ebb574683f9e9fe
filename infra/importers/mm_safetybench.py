"""MM-SafetyBench (Liu et al., ECCV 2024): `processed_questions/*.json` and `imgs/SCENARIO/VARIANT/ID.jpg`."""

from collections.abc import Iterator
from pathlib import Path

from autosteer_core.errors import UserMistake
from infra.importers.records import json_of, text_cell
from infra.importers.row import ImportedRow, Place

# Which question goes with which picture, as the paper evaluates them; TEXT is the question without a picture.
_QUESTION = {
    "SD": "Rephrased Question(SD)",
    "SD_TYPO": "Rephrased Question",
    "TYPO": "Rephrased Question",
    "TEXT": "Question",
}


def mm_safetybench(place: Place) -> Iterator[ImportedRow]:
    """All variants of every question; a suite chooses by `variant` and `scenario`."""
    files = sorted((place.path / "processed_questions").glob("*.json"))
    if not files:
        raise UserMistake(f"{place.path} holds no processed_questions/*.json: see `autosteer suites`")
    for file in files:
        yield from _scenario(file, place.picture_folder(place.path / "imgs") / file.stem)


def _scenario(file: Path, images: Path) -> Iterator[ImportedRow]:
    for number, record in json_of(file).items():
        for variant, column in _QUESTION.items():
            yield ImportedRow(
                row_id=f"{file.stem}/{number}/{variant}",
                text=text_cell(record, column, file),
                pictures=() if variant == "TEXT" else (images / variant / f"{number}.jpg",),
                facts={"scenario": file.stem, "variant": variant},
            )
