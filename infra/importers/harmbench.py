"""HarmBench (Mazeika et al., ICML 2024): standard and contextual behaviours; copyright is not about harm."""

from collections.abc import Iterator

from infra.importers.records import records_of, text_cell
from infra.importers.row import ImportedRow, Place


def harmbench(place: Place) -> Iterator[ImportedRow]:
    """A contextual behaviour is read after its context, as the benchmark presents it."""
    for record in records_of(place.path):
        kind = text_cell(record, "FunctionalCategory", place.path)
        if kind == "copyright":
            continue
        context = text_cell(record, "ContextString", place.path)
        behaviour = text_cell(record, "Behavior", place.path)
        yield ImportedRow(
            row_id=text_cell(record, "BehaviorID", place.path),
            text=f"{context}\n\n---\n\n{behaviour}" if context else behaviour,
            facts={"kind": kind, "category": text_cell(record, "SemanticCategory", place.path)},
        )
