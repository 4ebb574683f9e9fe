"""The rows of files of JSON lines: one object a line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from autosteer_core.cutting import Stretch
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.values import Item, Part
from infra.column_map import ColumnMap
from infra.file_kind import looks_like
from infra.json_lines import Line, lines_of
from infra.line_index import LineIndex
from infra.line_kind import LineKind, line_kind
from infra.manifest_files import ManifestFiles
from infra.manifest_rows import refuse_changed
from infra.row_to_item import flawed, is_id, row_place, row_to_item

_IDS_PER_BATCH = 10_000
_COLUMNS_TOLD = 100  # of a file whose every line may have other columns


class JsonlRows:
    """A line that is not a JSON object is a row whose flaw names the line."""

    def __init__(self, files: ManifestFiles, columns: ColumnMap, max_text_chars: int) -> None:
        self._files = files
        self._columns = columns
        self._max_text_chars = max_text_chars
        self._indexes: dict[str, LineIndex] = {}
        self._kinds: dict[str, LineKind] = {}

    def rows(self, name: str) -> int:
        return self._index(name).rows

    def stretches(self, name: str) -> Iterator[Stretch]:
        """One for every 256 rows, by the length of their lines."""
        return self._index(name).stretches()

    def ids(self, name: str) -> Iterator[Sequence[str]]:
        """Also refuses a file whose objects, taken together, lack a column."""
        found: dict[str, None] = {}
        rows = enumerate(self._lines(name))
        while ids := [self._id(row, name, line, found) for row, line in islice(rows, _IDS_PER_BATCH)]:
            yield ids
        if self.rows(name):
            self._refuse_columns(name, list(found))

    def items(self, part: Part) -> Iterator[Item]:
        where, index = self._files.describe(part.source), self._index(part.source)
        refuse_changed(part, index.rows, where)
        offset, number, row = index.before(part.start)
        with self._files.open(part.source) as file:
            file.seek(offset)
            lines = islice(lines_of(file, where, number), part.start - row, part.stop - row)
            for row, line in enumerate(lines, start=part.start):
                yield self._item(row, part.source, line)

    def _item(self, row: int, source: str, line: Line) -> Item:
        place = row_place(row, source, self._files.names)
        try:
            cells = self._kind(source).cells(line.parsed(), place)
        except BadItem as error:
            return flawed(place, error.flaw)
        item = row_to_item(place, cells, self._max_text_chars)
        if item.flaw is None:
            return item
        return replace(item, flaw=replace(item.flaw, message=f"line {line.number}: {item.flaw.message}"))

    def _id(self, row: int, source: str, line: Line, found: dict[str, None]) -> str:
        """The id that the row's item will have; takes note of the row's columns."""
        place = row_place(row, source, self._files.names)
        try:
            parsed = line.parsed()
            found.update(dict.fromkeys(parsed if len(found) < _COLUMNS_TOLD else self._columns.named_in(parsed)))
            item_id = self._kind(source).cells(parsed, place).text("id")
        except BadItem:
            return place.generated_id
        return item_id if is_id(item_id) else place.generated_id

    def _index(self, name: str) -> LineIndex:
        if name not in self._indexes:
            self._indexes[name] = LineIndex.of(self._lines(name))
        return self._indexes[name]

    def _lines(self, name: str) -> Iterator[Line]:
        with self._files.open(name) as file:
            yield from lines_of(file, self._files.describe(name))

    def _kind(self, name: str) -> LineKind:
        """Told by the first line that is an object."""
        if name not in self._kinds:
            first = next(_objects(self._lines(name)), {})
            self._kinds[name] = line_kind(first, self._columns, self._files.image)
        return self._kinds[name]

    def _refuse_columns(self, name: str, found: list[str]) -> None:
        where = self._files.describe(name)
        if not found:
            first = next(self._lines(name))
            raise UserMistake(
                f"{where} has no line that is a JSON object; line {first.number} looks like "
                f"{looks_like(first.data)}: give one object a line",
                "E_JSON",
            )
        self._kind(name).refuse_columns(found, where)


def _objects(lines: Iterator[Line]) -> Iterator[dict[str, object]]:
    for line in lines:
        try:
            yield line.parsed()
        except BadItem:
            continue
