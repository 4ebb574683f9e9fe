"""The run as one self-contained HTML page: opens offline, runs no script, shows no picture."""

from collections.abc import Sequence
from math import isfinite

from autosteer_core.bundle import Bundle
from autosteer_core.values import Verdict
from pipelines.page import page
from pipelines.summary import Summary

BARS = 20
EXAMPLES = 40


def report_html(summary: Summary, bundle: Bundle) -> bytes:
    """Every value is escaped; the page's policy forbids scripts and all loading."""
    values = {
        "summary": summary,
        "run": summary.finished.run,
        "bundle": bundle,
        "histogram": _histogram(summary.finished.verdicts),
        "layers": _layers(bundle),
        "examples": _examples(summary.finished.verdicts),
        "total": summary.finished.run.rows,
    }
    return page("report", values)


def _histogram(verdicts: Sequence[Verdict]) -> list[tuple[str, list[int]]]:
    """Rows per risk bin, for harmful, benign and unlabelled rows."""
    bins: dict[str, list[int]] = {}
    for row in verdicts:
        if isfinite(row.risk):
            name = str(row.annotation.label or "unlabelled")
            bins.setdefault(name, [0] * BARS)[min(int(row.risk * BARS), BARS - 1)] += 1
    return sorted(bins.items())


def _layers(bundle: Bundle) -> list[tuple[int, float, float]]:
    """Layer, mean recall over groups, SAS."""
    choice = bundle.report["layer_choice"]
    recalls = list(zip(*choice["recall"].values(), strict=True))
    return [
        (layer, sum(recall) / len(recall), score)
        for layer, recall, score in zip(choice["layers"], recalls, choice["score"], strict=True)
    ]


def _examples(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The rows nearest to the threshold tell most; error rows come first."""
    errors = [row for row in verdicts if row.flaw is not None]
    others = sorted((row for row in verdicts if row.flaw is None), key=lambda row: abs(row.risk - 0.5))
    return [*errors, *others][:EXAMPLES]
