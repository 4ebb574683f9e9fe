"""Records (column -> cell) from the file formats that sets are published in."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from autosteer_core.errors import BadItem, UserMistake
from infra.json_lines import lines_of
from infra.parquet_file import opened_parquet

Record = Mapping[str, Any]

# A row of a picture set can hold seven pictures.
_PARQUET_ROWS = 8


def records_of(path: Path) -> Iterator[Record]:
    """The records of one file, chosen by its suffix, or of all Parquet files below a folder, in order of names.

    Raises:
        UserMistake: nothing there, an unknown suffix, a file that is not what its suffix says.
    """
    if path.is_dir():
        yield from _folder(path)
        return
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UserMistake(f"{path} has the suffix {path.suffix or '(none)'}: expected one of {', '.join(_READERS)}")
    yield from read(path)


def parquet_files(folder: Path) -> list[Path]:
    """All Parquet files below the folder; UserMistake if there are none."""
    found = sorted(folder.rglob("*.parquet"))
    if not found:
        raise UserMistake(f"{folder} holds no .parquet file: get the set's files from its homepage")
    return found


def json_of(path: Path) -> Any:
    """A whole JSON file; UserMistake where it is missing or damaged."""
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise UserMistake(f"{path} is not JSON ({error}): get a new copy of it") from error


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    return [line.strip() for line in _text(path).split("\n") if line.strip()]


def cell(record: Record, column: str, where: Path) -> Any:
    """The cell; UserMistake naming the column and what is there instead."""
    if column not in record:
        raise UserMistake(f"{where} has no column {column}, it has {', '.join(map(str, record)) or 'none'}")
    return record[column]


def text_cell(record: Record, column: str, where: Path) -> str:
    """A cell that must be text."""
    found = cell(record, column, where)
    if not isinstance(found, str):
        raise UserMistake(f"{where}: column {column} must be text, it is {type(found).__name__}")
    return found.strip()


def _folder(path: Path) -> Iterator[Record]:
    for file in parquet_files(path):
        yield from _parquet(file)


def _parquet(path: Path) -> Iterator[Record]:
    with opened_parquet(cast(BufferedIOBase, _opened(path)), str(path)) as file:
        for batch in file.iter_batches(_PARQUET_ROWS):
            yield from batch.to_pylist()


def _json_lines(path: Path) -> Iterator[Record]:
    with _opened(path) as file:
        for line in lines_of(file, str(path)):
            try:
                yield line.parsed()
            except BadItem as error:
                raise UserMistake(f"{path}: {error.flaw.message}") from error


def _json_list(path: Path) -> Iterator[Record]:
    found = json_of(path)
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise UserMistake(f"{path} must be a JSON list of objects, it is a {type(found).__name__}")
    yield from found


def _csv(path: Path) -> Iterator[Record]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        for row in rows:
            if None in row or None in row.values():
                raise UserMistake(f"{path}: line {rows.line_num} does not have the columns of the first line")
            yield row
    except csv.Error as error:
        raise UserMistake(f"{path}: line {rows.line_num} is not CSV ({error}): get a new copy of it") from error


def _text(path: Path) -> str:
    with _opened(path) as file:
        data = file.read()
    try:
        return bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserMistake(f"{path} is not UTF-8 at byte {error.start}: get a new copy of it") from error


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserMistake(
            f"{path} cannot be read ({error.strerror}): `autosteer suites` says what to get, and from where"
        ) from error


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".csv": _csv,
    ".parquet": _parquet,
}
