"""MM-Vet (Yu et al., ICML 2024): `mm-vet.json` and `images/`; open answers, alternatives joined by <OR>."""

from collections.abc import Iterator

from infra.importers.records import cell, json_of, text_cell
from infra.importers.row import ImportedRow, Place


def mm_vet(place: Place) -> Iterator[ImportedRow]:
    """Alternatives become lines; <AND>, which joins what an answer must all hold, is left for the judge."""
    table = place.path / "mm-vet.json"
    folder = place.picture_folder(place.path / "images")
    for row_id, record in json_of(table).items():
        yield ImportedRow(
            row_id=str(row_id),
            text=text_cell(record, "question", table),
            pictures=(folder / text_cell(record, "imagename", table),),
            answer="\n".join(" ".join(one.split()) for one in text_cell(record, "answer", table).split("<OR>")),
            facts={"capability": ",".join(cell(record, "capability", table))},
        )
