"""VLSafe (Chen et al., DRESS, CVPR 2024) as JSON lines, and the aligned safe rewrites of AutoSteer's authors."""

from collections.abc import Iterator

from autosteer_core.values import Label
from infra.importers.records import records_of, text_cell
from infra.importers.row import ImportedRow, Place


def vlsafe(place: Place) -> Iterator[ImportedRow]:
    """`image_id` and `query` per line: a harmful text beside an ordinary COCO picture."""
    for index, record in enumerate(records_of(place.path)):
        image = text_cell(record, "image_id", place.path)
        text = text_cell(record, "query", place.path)
        yield ImportedRow(str(index), text, place.text_only_without_images(image), Label.HARMFUL)


def vlsafe_pairs(place: Place) -> Iterator[ImportedRow]:
    """`image_id`, `orig_query` and `safe_query` per line: twins that share the picture."""
    for index, record in enumerate(records_of(place.path)):
        pictures = place.text_only_without_images(text_cell(record, "image_id", place.path))
        for column, label in (("orig_query", Label.HARMFUL), ("safe_query", Label.BENIGN)):
            text = text_cell(record, column, place.path)
            yield ImportedRow(f"{index}-{label}", text, pictures, label, str(index))
