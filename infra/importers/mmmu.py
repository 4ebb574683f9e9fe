"""MMMU (Yue et al., CVPR 2024) as Parquet files of the hub: `image_1` to `image_7`, options as text of a list."""

import ast
from collections.abc import Iterator
from pathlib import Path

from autosteer_core.errors import UserMistake
from infra.importers.multiple_choice import as_prompt
from infra.importers.records import Record, cell, parquet_files, records_of, text_cell
from infra.importers.row import ImportedRow, Place

_PICTURES = [f"image_{number}" for number in range(1, 8)]


def mmmu(place: Place) -> Iterator[ImportedRow]:
    """One file, or every file below a folder; `split` is the file's name up to the first hyphen."""
    files = parquet_files(place.path) if place.path.is_dir() else [place.path]
    for file in files:
        for record in records_of(file):
            yield _row(record, file)


def _row(record: Record, file: Path) -> ImportedRow:
    choices = _list(text_cell(record, "options", file), file)
    answer = text_cell(record, "answer", file)
    return ImportedRow(
        row_id=text_cell(record, "id", file),
        text=as_prompt(text_cell(record, "question", file), choices),
        pictures=tuple(record[name]["bytes"] for name in _PICTURES if (record.get(name) or {}).get("bytes")),
        choices=tuple(choices),
        answer=answer if choices else "\n".join(_accepted(answer, file)),
        facts={
            "split": file.name.partition("-")[0],
            "question_type": str(cell(record, "question_type", file)),
            "subject": text_cell(record, "id", file).split("_", 1)[-1].rpartition("_")[0],
        },
    )


def _accepted(answer: str, file: Path) -> list[str]:
    """An open question has one answer, or a list of accepted ones."""
    return _list(answer, file) if answer.startswith("[") else [answer]


def _list(text: str, file: Path) -> list[str]:
    """A Python list of texts; `literal_eval` runs nothing."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise UserMistake(f"{file}: {text[:60]!r} is not a list of options as MMMU writes it") from error
    return [str(option) for option in found]
