"""The rows of a finished run in another form: part by part, checked as they are read, whole files or none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosteer_core.commit import SEALED, read_part
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord
from autosteer_core.run import read_record
from infra.open_store import open_store, scheme_of
from infra.openai_batch_output import error_line, is_output, output_line
from infra.spreadsheet_csv import csv_header, csv_row
from infra.verdict_files import COLUMNS
from infra.verdict_rows import rows_from_parquet
from infra.whole_files import whole_files

OPENAI_BATCH, JSON_LINES, CSV = "openai-batch", "jsonl", "csv"
_FILES = {OPENAI_BATCH: ("output.jsonl", "errors.jsonl"), JSON_LINES: ("verdicts.jsonl",), CSV: ("verdicts.csv",)}


@dataclass(frozen=True, slots=True)
class Exported:
    """File name -> lines written, all in `folder`."""

    folder: str
    lines: dict[str, int]


def export(out: str, form: str, to: Path) -> Exported:
    """Write the run at `out` into files in the folder `to`; older files of the same names are replaced at the end.

    Raises:
        UserMistake: no finished run at `out`, an unknown form, a folder that cannot be written.
        NotConserved: a part is gone or was changed after its commit; nothing is replaced.
    """
    names = _FILES.get(form)
    if names is None:
        raise UserMistake(f"there is no form {form}: choose {', '.join(_FILES)}")
    if scheme_of(str(to)):
        raise UserMistake("exports are written into a folder of this machine: give --to a path, then copy the files")
    store = open_store(out)
    kind = read_record(store)["kind"]
    if form == OPENAI_BATCH and kind != "generate":
        raise UserMistake(f"{out} holds an {kind}, which has no answers: export it with --format {JSON_LINES}")
    lines = dict.fromkeys(names, 0)
    with whole_files(to, names) as files:
        if form == CSV:
            files[0].write(csv_header(COLUMNS))
        for row in _rows(store):
            name, line = _line(row, form)
            files[names.index(name)].write(line)
            lines[name] += 1
    return Exported(str(to), lines)


def _line(row: dict[str, Any], form: str) -> tuple[str, str]:
    """Which file the row goes to, and as what."""
    if form == CSV:
        return _FILES[form][0], csv_row(row, COLUMNS)
    if form == JSON_LINES:
        return _FILES[form][0], _json_line(row)
    output, errors = _FILES[form]
    return (output, _json_line(output_line(row))) if is_output(row) else (errors, _json_line(error_line(row)))


def _json_line(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(store: BlobStore) -> Iterator[dict[str, Any]]:
    """In manifest order, one part in memory at a time."""
    try:
        parts = json.loads(store.get(SEALED))["parts"]
    except KeyError:
        raise UserMistake(
            f"the run in {store.describe()} is not finished: repeat its command until it is, then export"
        ) from None
    for part in parts:
        yield from rows_from_parquet(read_part(store, CommitRecord(**part)))
