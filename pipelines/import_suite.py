"""A suite in, one manifest out: duplicates, leaked and unusable rows are left out and counted."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autosteer_core.leakage import Leakage, leakage_between, traces_of
from autosteer_core.values import Item, Label
from infra.importers.catalogue import importer_named
from infra.importers.row import ImportedRow
from infra.suite_manifest import write_suite_manifest
from pipelines.suite import Suite, SuiteSet, load_suite
from pipelines.suite_rows import Usable, drawn, item_id, item_of, items_of, kind_of, rows_of, usable_rows
from workers.decoder_process import DecoderProcess


@dataclass(frozen=True, slots=True)
class SetReport:
    """What became of one set: read = rows + duplicates + unusable + leaked + not_drawn."""

    name: str
    kind: str
    modality: str
    read: int
    rows: int
    harmful: int
    benign: int
    duplicates: int
    unusable: int
    leaked: int
    not_drawn: int
    leaked_by: Mapping[str, int]
    note: str


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """All sets, the file they went to, and the sources shared with the suite that this one is held out from."""

    suite: str
    out: str
    sets: tuple[SetReport, ...]
    shared_sources: tuple[str, ...]
    leakage: Leakage | None

    @property
    def rows(self) -> int:
        """Rows of the manifest."""
        return sum(one.rows for one in self.sets)

    def as_json(self) -> dict[str, Any]:
        """With every leak: item, reason, and the row of the other suite that it repeats."""
        leaks = self.leakage.leaks if self.leakage else ()
        return {
            "suite": self.suite, "out": self.out, "rows": self.rows, "sets": [asdict(one) for one in self.sets],
            "shared_sources": list(self.shared_sources), "leaks": [asdict(leak) for leak in leaks],
        }  # fmt: skip


def import_suite(suite: Suite, data: Path, out: Path) -> SuiteReport:
    """Write the suite's manifest to `out`; the same files, suite and seed give the same bytes.

    Rows are compared with all rows of the sets that the suite is held out from, drawn or not, so that a later
    draw cannot leak.

    Raises:
        UserMistake: a file, column or picture is missing, or a set has no usable row.
    """
    data = data.resolve()  # pictures are named by whole paths
    usable = [usable_rows(one, data) for one in suite.sets]
    known = load_suite(suite.held_out_from) if suite.held_out_from else None
    leakage = _leakage([usable_rows(one, data) for one in known.sets], usable, data) if known else None
    kept = [_kept(suite, found, leakage) for found in usable]
    write_suite_manifest(out, _manifest(usable, kept, data))
    reports = tuple(_report(found, rows, leakage) for found, rows in zip(usable, kept, strict=True))
    return SuiteReport(suite.name, str(out), reports, _shared_sources(suite, known), leakage)


def _leakage(known: Sequence[Usable], asked: Sequence[Usable], data: Path) -> Leakage:
    decoder = DecoderProcess()
    return leakage_between(traces_of(_items(known, data), decoder), traces_of(_items(asked, data), decoder))


def _items(sets: Sequence[Usable], data: Path) -> Iterator[Item]:
    for found in sets:
        yield from items_of(found.one, data, {row.row_id for row in found.rows})


def _kept(suite: Suite, found: Usable, leakage: Leakage | None) -> tuple[ImportedRow, ...]:
    leaked = leakage.item_ids if leakage else frozenset()
    clean = tuple(row for row in found.rows if item_id(found.one, row) not in leaked)
    return drawn(clean, found.one.rows, f"{suite.seed}/{found.one.name}")


def _manifest(
    usable: Sequence[Usable], kept: Sequence[Sequence[ImportedRow]], data: Path
) -> Iterator[Mapping[str, Any]]:
    for found, rows in zip(usable, kept, strict=True):
        chosen = {row.row_id for row in rows}
        for row in rows_of(found.one, data):
            if row.row_id in chosen:
                yield _manifest_row(found.one, row)


def _manifest_row(one: SuiteSet, row: ImportedRow) -> Mapping[str, Any]:
    item = item_of(one, row)
    note = item.annotation
    label = note.label or one.label
    return {
        "id": item.item_id, "text": item.text, "images": list(item.images), "label": str(label),
        "group": note.group, "pair": note.pair, "source": note.source, "kind": kind_of(one, label),
        "modality": one.modality, "choices": list(row.choices), "answer": row.answer,
    }  # fmt: skip


def _report(found: Usable, rows: Sequence[ImportedRow], leakage: Leakage | None) -> SetReport:
    one = found.one
    labels = Counter(row.label or one.label for row in rows)
    counts = dict(leakage.counts().get(one.name, {})) if leakage else {}
    leaked = counts.pop("leaked", 0)
    counts.pop("rows", None)
    return SetReport(
        name=one.name, kind=one.kind, modality=one.modality, read=found.read, rows=len(rows),
        harmful=labels[Label.HARMFUL], benign=labels[Label.BENIGN], duplicates=found.duplicates,
        unusable=found.unusable, leaked=leaked, not_drawn=len(found.rows) - leaked - len(rows), leaked_by=counts,
        note="" if one.images else importer_named(one.importer).without_images,
    )  # fmt: skip


def _shared_sources(suite: Suite, known: Suite | None) -> tuple[str, ...]:
    return tuple(sorted({one.source for one in suite.sets} & {one.source for one in known.sets})) if known else ()
