"""The project's own contrast items: requests that only sound harmful, beside requests that are."""

from collections.abc import Iterator

from infra.importers.records import cell, records_of
from infra.importers.row import ImportedRow, Place, label_of


def contrast(place: Place) -> Iterator[ImportedRow]:
    """JSON lines with id, text, label, source (the kind of contrast) and, where there is a twin, pair."""
    for record in records_of(place.path):
        row_id, text, label, source = (
            str(cell(record, name, place.path)) for name in ("id", "text", "label", "source")
        )
        pair = record.get("pair")
        yield ImportedRow(
            row_id, text, label=label_of(label, str(place.path)), pair=pair and str(pair), source=source
        )
