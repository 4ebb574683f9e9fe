"""Lines that name a picture by `source-ref`, as SageMaker Ground Truth and Rekognition write them."""

from collections.abc import Callable, Iterator, Mapping

from autosteer_core.errors import BadItem
from infra.column_map import ColumnMap
from infra.json_cells import cells_of
from infra.row_to_item import RowCells, checked_image, in_column

SOURCE_REF = "source-ref"
_PROMPT = "prompt"


def source_ref_cells(
    row: Mapping[str, object], columns: ColumnMap, read_image: Callable[[str], bytes], generated_id: str
) -> RowCells:
    """One picture, and a text under the column map's name or `prompt`. Such lines rarely have an id: the row is one.

    The picture must lie below the manifest: `s3://` for a manifest in the same bucket and prefix, or a relative path.
    Labels of the format's own (`class-metadata` and the like) come from a machine as often as from a person: they are
    not read.
    """
    plain = cells_of(row, columns, read_image)

    def text(name: str) -> str | None:
        found = plain.text(name)
        if name == "id":
            return generated_id if found is None else found
        if name == "text" and found is None:
            return _prompt(row.get(_PROMPT))
        return found

    def images() -> Iterator[bytes]:
        place = row.get(SOURCE_REF)
        with in_column("image"):
            if not isinstance(place, str) or not place.strip():
                raise BadItem("E_SOURCE_REF", f"{SOURCE_REF} must be a path or an s3:// address, it is {place!r:.80}")
            yield checked_image(read_image(place))

    return RowCells(text, images)


def _prompt(found: object) -> str | None:
    if found is None or isinstance(found, str):
        return found
    raise BadItem("E_FIELD_TYPE", f"{_PROMPT} must be a string, it is {type(found).__name__}", "text")
