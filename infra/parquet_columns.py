"""The types that a Parquet manifest's columns may have, and how their cells are read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from autosteer_core.errors import BadItem, UserMistake
from infra.encoded_image import decoded_image
from infra.row_to_item import MAX_ID_CHARS, MAX_IMAGE_BYTES, MAX_VALUE_BYTES, RowCells, checked_image, in_column

UTF8_BYTES_PER_CHAR = 4

ReadImage = Callable[[str], bytes]


def refuse_wrong_types(schema: Any, present: Mapping[str, str], where: str) -> None:
    """`present` maps our column names to those of the table."""
    for ours, theirs in present.items():
        expected, fits = _EXPECTED[ours]
        found = schema.field(theirs).type
        if not (fits(found) or pt.is_null(found)):
            raise UserMistake(
                f"{where}: column {theirs} must be {expected}, it is {found!s:.200}: write it so, or leave it out",
                "E_COLUMN_TYPE",
            )


def cells_of(batch: Any, index: int, max_text_chars: int, read_image: ReadImage) -> RowCells:
    """The cells of one row of a batch whose columns bear our names."""

    def text(name: str) -> str | None:
        if name not in batch.schema.names:
            return None
        with in_column(name):
            return _text(batch[name][index], max_text_chars)

    def images() -> Iterator[bytes]:
        for column, cell in _image_cells(batch, index):
            with in_column(column):
                yield checked_image(_image(cell, read_image))

    return RowCells(text, images)


def _image_cells(batch: Any, index: int) -> Iterator[tuple[str, Any]]:
    """Each with the column that an error names."""
    names = batch.schema.names
    if "image" in names and batch["image"][index].is_valid:
        yield "image", batch["image"][index]
    if "images" in names and batch["images"][index].is_valid:
        for place, cell in enumerate(batch["images"][index].values):
            yield f"images[{place}]", cell


def _text(cell: Any, max_chars: int) -> str | None:
    if isinstance(cell, pa.DictionaryScalar):
        cell = cell.value
    if not cell.is_valid:
        return None
    if pt.is_integer(cell.type):
        return str(cell.as_py())
    size = cell.as_buffer().size  # known before the text is decoded
    if size > MAX_VALUE_BYTES:
        raise BadItem("E_VALUE_TOO_LARGE", f"a text unpacks to {size:,} bytes, at most {MAX_VALUE_BYTES:,} are read")
    if size > max(max_chars, MAX_ID_CHARS) * UTF8_BYTES_PER_CHAR:
        raise BadItem("E_TEXT_TOO_LONG", f"a text has {size} bytes, {max_chars} characters are allowed")
    try:
        return str(cell.as_py())
    except UnicodeDecodeError as error:
        raise BadItem("E_TEXT_UTF8", f"a text is not valid UTF-8 at byte {error.start}") from error


def _image(cell: Any, read_image: ReadImage) -> bytes | None:
    """The encoded bytes of a binary cell or of a {bytes, path} struct as Hugging Face writes it; a text is a path."""
    if cell.is_valid and _is_text(cell.type):
        return _image_at(cell, read_image)
    if not cell.is_valid or not pt.is_struct(cell.type):
        return _bytes(cell)
    data = _bytes(cell["bytes"])
    if data is None and "path" in cell and cell["path"].is_valid:
        return _image_at(cell["path"], read_image)
    return data


def _image_at(cell: Any, read_image: ReadImage) -> bytes:
    path = _text(cell, MAX_IMAGE_BYTES) or ""
    return decoded_image(path) if path.startswith("data:") else read_image(path)


def _bytes(cell: Any) -> bytes | None:
    if not cell.is_valid:
        return None
    if cell.as_buffer().size > MAX_IMAGE_BYTES:
        raise BadItem("E_IMAGE_BYTES", f"an image has more than {MAX_IMAGE_BYTES} bytes")
    return bytes(cell.as_py())


def _is_text(found: Any) -> bool:
    if pt.is_dictionary(found):
        return _is_text(found.value_type)
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def _is_text_or_whole(found: Any) -> bool:
    return _is_text(found) or bool(pt.is_integer(found))


def _is_image(found: Any) -> bool:
    if _is_text(found):
        return True
    if pt.is_struct(found):
        fields = {found.field(index).name: found.field(index).type for index in range(found.num_fields)}
        path = fields.get("path")
        return (
            len(fields) == found.num_fields
            and _is_binary(fields.get("bytes"))
            and (path is None or pt.is_null(path) or _is_text(path))
        )
    return _is_binary(found)


def _is_binary(found: Any) -> bool:
    return found is not None and bool(
        pt.is_binary(found) or pt.is_large_binary(found) or pt.is_binary_view(found) or pt.is_null(found)
    )


def _is_image_list(found: Any) -> bool:
    return bool(pt.is_list(found) or pt.is_large_list(found)) and _is_image(found.value_type)


_ID = ("a string or a whole number", _is_text_or_whole)
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": _ID,
    "text": ("a string", _is_text),
    "system": ("a string", _is_text),
    "image": ("binary, a path or a struct of bytes and path", _is_image),
    "images": ("a list of binary, of paths or of structs of bytes and path", _is_image_list),
    "image_sha256": ("a string", _is_text),
    "label": ("a string", _is_text),
    "group": _ID,
    "pair": _ID,
    "source": _ID,
}
