"""Sets of plain texts: one reader per shape, the columns are arguments."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from autosteer_core.errors import UserMistake
from infra.importers.records import cell, json_of, lines, records_of, text_cell
from infra.importers.row import ImportedRow, Place, Reader, label_of


def table(
    text: str | None = None,
    row_id: str | None = None,
    pair: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> Reader:
    """Rows of a table; `text` None is its first column, `facts` maps our name -> the table's column."""

    def read(place: Place) -> Iterator[ImportedRow]:
        for index, record in enumerate(records_of(place.path)):
            yield ImportedRow(
                row_id=str(cell(record, row_id, place.path)) if row_id else str(index),
                text=text_cell(record, text or next(iter(record), ""), place.path),
                pair=str(cell(record, pair, place.path)) if pair else None,
                facts={ours: str(cell(record, theirs, place.path)) for ours, theirs in (facts or {}).items()},
            )

    return read


def any_table(place: Place) -> Iterator[ImportedRow]:
    """A table whose columns the suite names; every other column is a fact that rows may be chosen by."""
    names = place.columns
    for index, record in enumerate(records_of(place.path)):
        image = text_cell(record, names["image"], place.path) if "image" in names else ""
        given = {ours: str(cell(record, names[ours], place.path)) for ours in names if ours not in ("image", "text")}
        yield ImportedRow(
            row_id=given.get("id", str(index)),
            text=text_cell(record, names.get("text", "text"), place.path),
            pictures=(place.picture_folder(place.path.parent) / image,) if image else (),
            label=label_of(given["label"], str(place.path)) if "label" in given else None,
            pair=given.get("pair"),
            answer=given.get("answer"),
            facts={str(name): str(value) for name, value in record.items() if isinstance(value, str | int)},
        )


def text_lines(place: Place) -> Iterator[ImportedRow]:
    """One item per line."""
    yield from _numbered(lines(place.path))


def json_texts(place: Place) -> Iterator[ImportedRow]:
    """A JSON list of texts."""
    yield from _numbered(_texts(json_of(place.path), place.path))


def named_list(key: str) -> Reader:
    """A JSON object of lists of equal rank, of which `key` holds the texts."""

    def read(place: Place) -> Iterator[ImportedRow]:
        yield from _numbered(_texts(cell(_object(place.path), key, place.path), place.path))

    return read


def category_tree(place: Place) -> Iterator[ImportedRow]:
    """A JSON object category -> subcategory -> list of texts."""
    for category, below in _object(place.path).items():
        if not isinstance(below, dict):
            raise UserMistake(f"{place.path}: {category} must be an object of subcategories")
        for subcategory, texts in below.items():
            for index, text in enumerate(_texts(texts, place.path)):
                facts = {"category": category, "subcategory": subcategory.rstrip(":")}
                yield ImportedRow(f"{category}/{subcategory}/{index}", text, facts=facts)


def conversations(place: Place) -> Iterator[ImportedRow]:
    """JSON lines with `question_id` and `turns`; the first turn is the item."""
    for record in records_of(place.path):
        turns = _texts(cell(record, "turns", place.path), place.path)
        yield ImportedRow(str(cell(record, "question_id", place.path)), turns[0])


def tasks_with_input(place: Place) -> Iterator[ImportedRow]:
    """JSON lines of tasks; the first instance's input belongs to the instruction."""
    for record in records_of(place.path):
        instances = cell(record, "instances", place.path)
        given = str(instances[0].get("input", "")).strip() if instances else ""
        text = text_cell(record, "instruction", place.path)
        yield ImportedRow(str(cell(record, "id", place.path)), f"{text}\n\n{given}" if given else text)


def _numbered(texts: list[str]) -> Iterator[ImportedRow]:
    for index, text in enumerate(texts):
        yield ImportedRow(str(index), text)


def _object(path: Path) -> Mapping[str, object]:
    found = json_of(path)
    if not isinstance(found, dict):
        raise UserMistake(f"{path} must be a JSON object, it is a {type(found).__name__}")
    return found


def _texts(found: object, where: Path) -> list[str]:
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise UserMistake(f"{where}: expected a list of texts, found {type(found).__name__}")
    return [text.strip() for text in found]
