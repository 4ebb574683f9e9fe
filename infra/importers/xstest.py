"""XSTest (Röttger et al., NAACL 2024): safe prompts that look unsafe, and their unsafe contrasts."""

from collections.abc import Iterator

from autosteer_core.values import Label
from infra.importers.records import records_of, text_cell
from infra.importers.row import ImportedRow, Place, label_of


def xstest(place: Place) -> Iterator[ImportedRow]:
    """Both published tables: with a `label` column, and version 2 where `contrast_` in `type` means unsafe."""
    for record in records_of(place.path):
        kind = text_cell(record, "type", place.path)
        label = Label.HARMFUL if kind.startswith("contrast_") else Label.BENIGN
        if "label" in record:
            label = label_of(record["label"], str(place.path))
        text = text_cell(record, "prompt", place.path)
        facts = {"type": kind, "label": str(label)}
        yield ImportedRow(text_cell(record, "id", place.path), text, label=label, facts=facts)
