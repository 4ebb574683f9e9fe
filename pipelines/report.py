"""The run as one self-contained HTML page: opens offline, runs no script, shows no picture."""

from autosteer_core.bundle import Bundle
from autosteer_core.registry_state import State
from pipelines.page import page
from pipelines.pictures.lineage import lineage_picture
from pipelines.pictures.svg import data_uri
from pipelines.summary import Summary

_MOST_MOVES = 100


def report_html(summary: Summary, bundle: Bundle, registry: State | None = None) -> bytes:
    """Every value is escaped; the page's policy forbids scripts and all loading.

    Where the run has a registry, the page draws its bundles and lists who did what with them.
    """
    values = {
        "summary": summary,
        "run": summary.finished.run,
        "bundle": bundle,
        "histogram": summary.histogram,
        "layers": _layers(bundle),
        "examples": summary.examples,
        "total": summary.finished.run.rows,
        "moves": registry.moves()[-_MOST_MOVES:] if registry else (),
        "lineage": data_uri(lineage_picture(registry)) if registry else None,
    }
    return page("report", values, pictures=registry is not None)


def _layers(bundle: Bundle) -> list[tuple[int, float, float]]:
    """Layer, mean recall over groups, SAS."""
    choice = bundle.report["layer_choice"]
    recalls = list(zip(*choice["recall"].values(), strict=True))
    return [
        (layer, sum(recall) / len(recall), score)
        for layer, recall, score in zip(choice["layers"], recalls, choice["score"], strict=True)
    ]
