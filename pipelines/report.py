"""The run as one self-contained HTML page: opens offline, runs no script, shows no picture."""

from autosteer_core.bundle import Bundle
from pipelines.page import page
from pipelines.summary import Summary


def report_html(summary: Summary, bundle: Bundle) -> bytes:
    """Every value is escaped; the page's policy forbids scripts and all loading."""
    values = {
        "summary": summary,
        "run": summary.finished.run,
        "bundle": bundle,
        "histogram": summary.histogram,
        "layers": _layers(bundle),
        "examples": summary.examples,
        "total": summary.finished.run.rows,
    }
    return page("report", values)


def _layers(bundle: Bundle) -> list[tuple[int, float, float]]:
    """Layer, mean recall over groups, SAS."""
    choice = bundle.report["layer_choice"]
    recalls = list(zip(*choice["recall"].values(), strict=True))
    return [
        (layer, sum(recall) / len(recall), score)
        for layer, recall, score in zip(choice["layers"], recalls, choice["score"], strict=True)
    ]
