"""What lines of JSON mean: rows with our columns, OpenAI-batch requests, or `source-ref` lines."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from infra.column_map import ColumnMap
from infra.json_cells import cells_of
from infra.openai_batch import request_cells
from infra.row_to_item import RowCells, RowPlace
from infra.source_ref import SOURCE_REF, source_ref_cells

ReadImage = Callable[[str], bytes]


class LineKind(Protocol):
    """How one object becomes cells, and which columns a file must have."""

    def cells(self, row: Mapping[str, object], place: RowPlace) -> RowCells:
        """The cells are read when they are asked for: a wrong one spoils its row, but not its id."""
        ...

    def refuse_columns(self, found: Collection[str], where: str) -> None:
        """UserMistake if the objects of a file, taken together, cannot be rows."""
        ...


class _Plain:
    def __init__(self, columns: ColumnMap, read_image: ReadImage) -> None:
        self._columns = columns
        self._read_image = read_image

    def cells(self, row: Mapping[str, object], place: RowPlace) -> RowCells:
        return cells_of(row, self._columns, self._read_image)

    def refuse_columns(self, found: Collection[str], where: str) -> None:
        self._columns.present_in(list(found), where)


class _OpenaiBatch(_Plain):
    def cells(self, row: Mapping[str, object], place: RowPlace) -> RowCells:
        return request_cells(row, self._read_image)

    def refuse_columns(self, found: Collection[str], where: str) -> None:
        """A request that lacks something is an error row."""


class _SourceRef(_Plain):
    def cells(self, row: Mapping[str, object], place: RowPlace) -> RowCells:
        return source_ref_cells(row, self._columns, self._read_image, place.generated_id)

    def refuse_columns(self, found: Collection[str], where: str) -> None:
        """`source-ref` is what told the kind; ids and texts are optional here."""


def line_kind(first: Mapping[str, object], columns: ColumnMap, read_image: ReadImage) -> LineKind:
    """The kind that the first object of a file tells; a column map that names the object's own id column decides."""
    if SOURCE_REF in first and columns.image != SOURCE_REF:
        return _SourceRef(columns, read_image)
    if {"custom_id", "body"} <= first.keys() and columns.id not in first:
        return _OpenaiBatch(columns, read_image)
    return _Plain(columns, read_image)
