"""RealWorldQA (xAI, 2024) as Parquet files of the hub; options stand in the question, one per line."""

import re
from collections.abc import Iterator
from pathlib import Path

from autosteer_core.errors import UserMistake
from infra.importers.records import Record, cell, records_of, text_cell
from infra.importers.row import ImportedRow, Place

_OPTION = re.compile(r"^([A-H])[.)]\s+(.+)$", re.MULTILINE)


def realworldqa(place: Place) -> Iterator[ImportedRow]:
    """Columns image (bytes and path), question, answer; the question already says how to answer."""
    for index, record in enumerate(records_of(place.path)):
        question = text_cell(record, "question", place.path)
        yield ImportedRow(
            row_id=str(index),
            text=question,
            pictures=(_picture(record, place.path),),
            choices=tuple(text.strip() for _, text in _OPTION.findall(question)),
            answer=text_cell(record, "answer", place.path),
        )


def _picture(record: Record, where: Path) -> bytes:
    found = cell(record, "image", where)
    if not isinstance(found, dict) or not found.get("bytes"):
        raise UserMistake(f"{where}: column image must hold encoded bytes, as on the hub")
    return bytes(found["bytes"])
