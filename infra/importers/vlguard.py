"""VLGuard (Zong et al., ICML 2024): `train.json` or `test.json`, instructions beside safe and unsafe pictures."""

from collections.abc import Iterator
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.values import Label
from infra.importers.records import Record, cell, records_of, text_cell
from infra.importers.row import ImportedRow, Place

# The column that holds an instruction says what it is; the names of the subsets are the paper's.
_SUBSETS = {
    "instruction": ("unsafes", Label.HARMFUL),
    "safe_instruction": ("safe-safes", Label.BENIGN),
    "unsafe_instruction": ("safe-unsafes", Label.HARMFUL),
}


def vlguard(place: Place) -> Iterator[ImportedRow]:
    """Pictures lie in a folder of the file's name (`train/`, `test/`) beside it, unless `images` says where."""
    folder = place.picture_folder(place.path.with_suffix(""))
    for index, record in enumerate(records_of(place.path)):
        picture = folder / text_cell(record, "image", place.path)
        # The published ids repeat, so the position is part of ours.
        row_id = f"{index}-{text_cell(record, 'id', place.path)}"
        for turn in cell(record, "instr-resp", place.path):
            yield _row(row_id, record, turn, picture, place.path)


def _row(row_id: str, record: Record, turn: Record, picture: Path, where: Path) -> ImportedRow:
    # The hub's viewer fills the columns that a turn lacks with null.
    for column, (subset, label) in _SUBSETS.items():
        if turn.get(column):
            facts = {"subset": subset, "category": str(record.get("harmful_category"))}
            return ImportedRow(f"{row_id}/{subset}", str(turn[column]), (picture,), label, row_id, facts=facts)
    raise UserMistake(f"{where}: a turn has none of {', '.join(_SUBSETS)}: expected VLGuard's published format")
