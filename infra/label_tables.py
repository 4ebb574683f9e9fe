"""A table of labels from outside, Parquet or CSV, as items that carry a label and no content.

It speaks the ManifestReader port, so that it is read like a manifest: in a process of its own with little memory.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow.types as pt

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.values import Annotation, Flaw, Item, Label, Part
from infra.file_kind import HEAD_BYTES, PARQUET, looks_like, row_kind
from infra.importers.row import label_of
from infra.manifest_files import LocalFiles, sha256_of
from infra.parquet_columns import cells_of, refuse_wrong_types
from infra.parquet_cursor import ParquetCursor
from infra.parquet_file import opened_parquet
from infra.row_to_item import MAX_ID_CHARS, ReadText, in_column, is_id

MOST_BYTES, MOST_ROWS = 256 * 2**20, 1_000_000
IDS, CONTENT, LABEL = ("item_id", "id"), "content", "label"
_HASH_BYTES, _LONGEST_LABEL = 32, 20
_NAMES_TOLD = 20


class LabelTable:
    """One file. An item's text is the hash of its content, 64 hex digits, where the file tells it; a row that cannot
    be read is an item with a flaw. Rows are counted from 0, behind a CSV's header."""

    def __init__(self, files: LocalFiles) -> None:
        self._files = files
        self._name = files.names[0]
        self._where = files.describe(self._name)

    def files(self) -> Sequence[tuple[str, int, str]]:
        """The file, its rows and its SHA-256.

        Raises:
            UserMistake: it is neither Parquet nor CSV, lacks a column, or is larger than is read.
        """
        rows = sum(1 for _ in self._rows())
        with self._files.open(self._name) as file:
            return [(self._name, rows, sha256_of(file))]

    def items(self, part: Part) -> Iterator[Item]:
        """The rows of a part; those before it are read too."""
        for row, text in enumerate(self._rows()):
            if row >= part.stop:
                return
            if row >= part.start:
                yield _item(row, text)

    def _rows(self) -> Iterator[ReadText]:
        with self._files.open(self._name) as file:
            head = file.read(HEAD_BYTES)
            file.seek(0, io.SEEK_END)
            if file.tell() > MOST_BYTES:
                raise self._too_large(f"{file.tell():,} bytes", f"{MOST_BYTES:,}")
        read = self._parquet if row_kind(head) == PARQUET else self._csv
        if read == self._csv and looks_like(head) != "plain text such as CSV":
            raise UserMistake(
                f"{self._where} looks like {looks_like(head)}: labels are a Parquet or a CSV file with the columns "
                "item_id or content, and label",
                "E_LABEL_FILE",
            )
        for row, text in enumerate(read()):
            if row == MOST_ROWS:
                raise self._too_large("more rows", f"{MOST_ROWS:,}")
            yield text

    def _too_large(self, found: str, most: str) -> UserMistake:
        return UserMistake(f"{self._where} has {found}, at most {most} are read: split it", "E_LABEL_FILE")

    def _parquet(self) -> Iterator[ReadText]:
        with opened_parquet(self._files.open(self._name), self._where) as file:
            schema = file.schema_arrow
            present = _present(schema.names, self._where)
            refuse_wrong_types(
                schema, {ours: present[ours] for ours in ("id", LABEL) if ours in present}, self._where
            )
            self._refuse_content(schema, present)
            for batch in ParquetCursor(file, present, 0).batches(0, file.metadata.num_rows):
                for index in range(batch.num_rows):
                    yield _parquet_row(batch, index)

    def _refuse_content(self, schema: Any, present: Mapping[str, str]) -> None:
        if CONTENT not in present:
            return
        found = schema.field(CONTENT).type
        if not (pt.is_string(found) or pt.is_large_string(found) or _is_bytes(found)):
            raise UserMistake(
                f"{self._where}: column {CONTENT} is {found!s:.200}, expected binary or a string of 64 hex digits: "
                "write it so, or leave it out",
                "E_COLUMN_TYPE",
            )

    def _csv(self) -> Iterator[ReadText]:
        with self._files.open(self._name) as file:
            lines = io.TextIOWrapper(cast(io.BufferedReader, file), "utf-8-sig", newline="")
            table = csv.reader(lines, strict=True)
            with self._named_in_csv(table):
                columns = next(table, [])
                present = _present(columns, self._where)
                for cells in table:
                    if cells:  # a blank line is no row
                        yield self._csv_row(cells, columns, present, table.line_num)

    def _csv_row(
        self, cells: Sequence[str], columns: Sequence[str], present: Mapping[str, str], line: int
    ) -> ReadText:
        if len(cells) != len(columns):
            return _broken("E_LABEL_FILE", f"line {line} has {len(cells)} cells, the first line has {len(columns)}")
        row = {ours: _plain(cells[columns.index(theirs)]) for ours, theirs in present.items()}
        return lambda name: row.get(name) or None

    @contextmanager
    def _named_in_csv(self, table: Any) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise UserMistake(f"{self._where} is not UTF-8: save it as CSV in UTF-8", "E_TEXT_UTF8") from error
        except csv.Error as error:
            raise UserMistake(
                f"{self._where}: line {table.line_num} is not CSV ({error}): save it anew", "E_LABEL_FILE"
            ) from error


def opened(address: str) -> LabelTable:
    """The table in a file of this machine."""
    path = Path(address)
    return LabelTable(LocalFiles(path.parent, [path.name]))


def _present(found: Sequence[str], where: str) -> dict[str, str]:
    """Our name -> the file's."""
    twice = sorted({name for name in found if found.count(name) > 1}) if len(found) < MAX_ID_CHARS else []
    if twice:
        raise UserMistake(f"{where} has several columns named {twice[0]!r:.80}: rename them", "E_COLUMN_DUPLICATE")
    present = {name: name for name in (CONTENT, LABEL) if name in found}
    if named := [name for name in IDS if name in found]:
        present["id"] = named[0]
    if LABEL not in present or len(present) == 1:
        told = ", ".join(f"{name!a:.80}" for name in found[:_NAMES_TOLD]) or "none"
        raise UserMistake(
            f"{where} has the columns {told}, expected label, and item_id or content: rename yours",
            "E_COLUMN_MISSING",
        )
    return present


def _item(row: int, text: ReadText) -> Item:
    item_id = ""
    try:
        item_id = _id(text("id"))
        with in_column(CONTENT):
            content = _content(text(CONTENT))
        with in_column(LABEL):
            label = _label(text(LABEL))
        if not item_id and not content:
            raise BadItem("E_ID_EMPTY", "the row has neither an item_id nor a content", "item_id")
    except BadItem as error:
        return Item(item_id, "", row=row, flaw=error.flaw)
    return Item(item_id, content, row=row, annotation=Annotation(label))


def _id(found: str | None) -> str:
    if found and not is_id(found):
        raise BadItem(
            "E_ID_INVALID", f"the id is longer than {MAX_ID_CHARS} characters or has control characters", "item_id"
        )
    return found or ""


def _content(found: str | None) -> str:
    """In lower case; nothing where the cell is empty."""
    digits = (found or "").lower()
    if digits and not (len(digits) == 2 * _HASH_BYTES and all(each in "0123456789abcdef" for each in digits)):
        raise BadItem("E_CONTENT_HASH", f"{len(digits)} characters are no SHA-256: expected 64 hex digits")
    return digits


def _label(found: str | None) -> Label | None:
    """None where the cell is empty: a table may be labelled in part."""
    word = (found or "").strip()
    if not word:
        return None
    try:
        if len(word) <= _LONGEST_LABEL:
            return label_of(word, "the row")
    except UserMistake:
        pass
    raise BadItem("E_LABEL", f"a label is {word[:_LONGEST_LABEL]!a}, expected harmful, unsafe, benign or safe")


def _parquet_row(batch: Any, index: int) -> ReadText:
    cells = cells_of(batch, index, MAX_ID_CHARS, lambda path: b"")

    def text(name: str) -> str | None:
        if name != CONTENT or name not in batch.schema.names or not _is_bytes(batch[name].type):
            return cells.text(name)
        cell = batch[name][index]
        if not cell.is_valid:
            return None
        if cell.as_buffer().size != _HASH_BYTES:
            raise BadItem("E_CONTENT_HASH", f"{cell.as_buffer().size} bytes are no SHA-256: expected 32", CONTENT)
        return bytes(cell.as_py()).hex()

    return text


def _is_bytes(found: Any) -> bool:
    return bool(pt.is_binary(found) or pt.is_large_binary(found) or pt.is_fixed_size_binary(found))


def _plain(cell: str) -> str:
    """Without the mark that `export --format csv` puts before what a spreadsheet would run."""
    return cell.removeprefix("'")


def _broken(code: str, message: str) -> ReadText:
    flaw = Flaw(code, message)

    def text(name: str) -> str | None:
        raise BadItem(flaw.code, flaw.message)

    return text
