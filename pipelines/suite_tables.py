"""Tables of suites, importers and what an import did."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from infra.importers.catalogue import IMPORTERS
from pipelines.import_suite import SuiteReport
from pipelines.suite import load_suite, shipped_suites


def suites_as_json() -> dict[str, Any]:
    """All that `autosteer suites` knows."""
    suites = {name: load_suite(name).model_dump(mode="json") for name in shipped_suites()}
    importers = {
        name: {key: value for key, value in asdict(importer).items() if key != "read"}
        for name, importer in IMPORTERS.items()
    }
    return {"suites": suites, "importers": importers}


def suites_table() -> Table:
    """The shipped suites."""
    table = Table("suite", "what", "sets", "held out from", title="suites")
    for name in shipped_suites():
        suite = load_suite(name)
        table.add_row(name, suite.title, str(len(suite.sets)), suite.held_out_from or "-")
    return table


def importers_table() -> Table:
    """Every importer: what it is, on whose terms, and what to get from where."""
    table = Table("importer", "what it is", "licence as published", title="importers")
    table.add_column("what you must obtain", overflow="fold")
    for name, importer in IMPORTERS.items():
        table.add_row(name, importer.title, importer.licence, f"{importer.obtain}\n{importer.homepage}".strip())
    return table


def import_table(report: SuiteReport) -> Table:
    """Rows per set, and why the others are missing."""
    names = ["set", "kind", "rows", "harmful", "benign", "duplicates", "leaked", "unusable", "not drawn"]
    table = Table(*names, title=f"suite {report.suite}: {report.rows} rows")
    for one in report.sets:
        counts = (one.rows, one.harmful, one.benign, one.duplicates, one.leaked, one.unusable, one.not_drawn)
        table.add_row(one.name, one.kind, *map(str, counts))
    return table


def import_notes(report: SuiteReport) -> list[str]:
    """What a reader of the table must know besides."""
    notes = [f"{one.name}: {one.note}" for one in report.sets if one.note]
    if report.shared_sources:
        notes.append(f"also a source of the calibration suite: {', '.join(report.shared_sources)}")
    return notes
