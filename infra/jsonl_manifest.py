"""A manifest made of JSON lines: one object a line."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.values import Item, Part
from infra.column_map import ColumnMap
from infra.duplicate_ids import refuse_duplicate_ids
from infra.file_kind import looks_like
from infra.json_cells import cells_of
from infra.json_lines import Line, lines_of
from infra.manifest_files import ManifestFiles, sha256_of
from infra.manifest_rows import refuse_changed, refuse_no_rows
from infra.row_to_item import MAX_TEXT_CHARS, flawed, row_place, row_to_item


@dataclass(frozen=True, slots=True)
class _Index:
    """Where each row starts and which line it is: blank lines are not rows."""

    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    numbers: "array[int]" = field(default_factory=lambda: array("Q"))


class JsonlManifest:
    """A line that is not a JSON object is a row whose flaw names the line."""

    def __init__(
        self, files: ManifestFiles, columns: ColumnMap | None = None, max_text_chars: int = MAX_TEXT_CHARS
    ) -> None:
        self._files = files
        self._columns = columns or ColumnMap()
        self._max_text_chars = max_text_chars
        self._indexes: dict[str, _Index] = {}

    def files(self) -> Sequence[tuple[str, int, str]]:
        """Also refuses what cannot be served: no JSON, no rows, missing columns, an id given twice."""
        return self._planned

    def items(self, part: Part) -> Iterator[Item]:
        where, index = self._files.describe(part.source), self._index(part.source)
        refuse_changed(part, len(index.offsets), where)
        with self._files.open(part.source) as file:
            file.seek(index.offsets[part.start])
            lines = lines_of(file, where, index.numbers[part.start])
            for row, line in enumerate(islice(lines, part.rows), start=part.start):
                yield self._item(row, part.source, line)

    def _item(self, row: int, source: str, line: Line) -> Item:
        place = row_place(row, source, self._files.names)
        try:
            cells = cells_of(line.parsed(), self._columns, self._files.image)
        except BadItem as error:
            return flawed(place, error.flaw)
        return row_to_item(place, cells, self._max_text_chars)

    @cached_property
    def _planned(self) -> Sequence[tuple[str, int, str]]:
        planned = [(name, len(self._index(name).offsets), self._digest(name)) for name in self._files.names]
        refuse_no_rows(planned, self._files)
        for name, rows, _ in planned:
            if rows:
                self._refuse_columns(name)
        refuse_duplicate_ids(self._ids)
        return planned

    def _index(self, name: str) -> _Index:
        if name not in self._indexes:
            index = _Index()
            for line in self._lines(name):
                index.offsets.append(line.offset)
                index.numbers.append(line.number)
            self._indexes[name] = index
        return self._indexes[name]

    def _lines(self, name: str) -> Iterator[Line]:
        with self._files.open(name) as file:
            yield from lines_of(file, self._files.describe(name))

    def _digest(self, name: str) -> str:
        with self._files.open(name) as file:
            return sha256_of(file)

    def _objects(self, name: str) -> Iterator[tuple[int, dict[str, object]]]:
        """The rows that are objects; the others are told of when they are read."""
        for row, line in enumerate(self._lines(name)):
            try:
                yield row, line.parsed()
            except BadItem:
                continue

    def _refuse_columns(self, name: str) -> None:
        where = self._files.describe(name)
        found = list(dict.fromkeys(key for _, row in self._objects(name) for key in row))
        if not found:
            first = next(self._lines(name))
            raise UserMistake(
                f"{where} has no line that is a JSON object; line {first.number} looks like "
                f"{looks_like(first.data)}: give one object a line"
            )
        self._columns.present_in(found, where)

    def _ids(self) -> Iterator[tuple[str, int, str | bytes]]:
        for name in self._files.names:
            for row, cells in self._objects(name):
                item_id = cells.get(self._columns.id)
                if item_id is not None and str(item_id).strip():
                    yield name, row, str(item_id)
