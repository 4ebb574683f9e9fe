"""The loop's result: a table before and after, and one self-contained HTML page with the bundles' lineage."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from autosteer_core.evaluation import Rate
from pipelines.loop.gauge import Gauge
from pipelines.page import page
from pipelines.pictures.svg import data_uri


def result_table(before: Gauge, after: Gauge) -> Table:
    """Gates that open, under the first bundle and under the one that learned, with 95 % Wilson intervals."""
    table = Table("gates that open on", "n", "first bundle", "retrained", title="before and after, by the same rows")
    for name, old, new in _lines(before, after):
        table.add_row(name, str(old.trials), str(old), str(new))
    return table


def report_page(found: Mapping[str, Any], gauges: tuple[Gauge, Gauge], lineage: bytes) -> bytes:
    """Every value is escaped; the page's policy allows embedded pictures and nothing else."""
    values = {"found": found, "lines": list(_lines(*gauges)), "lineage": data_uri(lineage)}
    return page("loop", values, pictures=True)


def _lines(before: Gauge, after: Gauge) -> Iterator[tuple[str, Rate, Rate]]:
    for group, rate in before.recall.items():
        yield f"harmful, {group}", rate, after.recall[group]
    yield "benign, all groups", before.false_refusals, after.false_refusals
