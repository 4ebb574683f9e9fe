"""The cells of a row that came as a JSON object."""

from collections.abc import Callable, Iterator, Mapping

from autosteer_core.errors import BadItem
from infra.column_map import ColumnMap
from infra.encoded_image import decoded_image
from infra.row_to_item import RowCells, checked_image, in_column

ReadImage = Callable[[str], bytes]


def cells_of(row: Mapping[str, object], columns: ColumnMap, read_image: ReadImage) -> RowCells:
    """`read_image` gets the paths, relative to the manifest."""

    def text(name: str) -> str | None:
        with in_column(name):
            return _text(name, row.get(getattr(columns, name)))

    def images() -> Iterator[bytes]:
        for column, value in _listed(row.get(columns.image), row.get(columns.images)):
            with in_column(column):
                yield checked_image(_image(value, read_image))

    return RowCells(text, images)


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if name != "text" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadItem("E_FIELD_TYPE", f"{name} must be a string, it is {type(value).__name__}")


def _listed(image: object, images: object) -> list[tuple[str, object]]:
    """Each with the column that an error names."""
    if not isinstance(images, list | None):
        raise BadItem("E_FIELD_TYPE", f"images must be a list, it is {type(images).__name__}", "images")
    listed = [(f"images[{place}]", value) for place, value in enumerate(images or [])]
    return ([] if image is None else [("image", image)]) + listed


def _image(value: object, read_image: ReadImage) -> bytes:
    """Base64, plain or in a data: address, or a path: a path has a dot, which base64 never has."""
    if not isinstance(value, str):
        raise BadItem("E_FIELD_TYPE", f"an image must be base64 or a path, it is {type(value).__name__}")
    if not value.startswith("data:") and "." in value:
        return read_image(value)
    return decoded_image(value)
