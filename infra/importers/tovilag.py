"""ToViLaG+ (AutoSteer, appendix A): JSON lines with `image_pth` and `query`, pictures on request from ToViLaG."""

from collections.abc import Iterator

from infra.importers.records import records_of, text_cell
from infra.importers.row import ImportedRow, Place


def tovilag(place: Place) -> Iterator[ImportedRow]:
    """The pictures are part of every row: their paths are below `images`, or else beside the file."""
    folder = place.picture_folder(place.path.parent)
    for index, record in enumerate(records_of(place.path)):
        image = text_cell(record, "image_pth", place.path)
        facts = {"folder": image.rpartition("/")[0]}
        yield ImportedRow(str(index), text_cell(record, "query", place.path), (folder / image,), facts=facts)
