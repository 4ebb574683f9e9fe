"""The evaluation as one self-contained HTML page: pictures are inside it, it opens offline and runs no script."""

from collections.abc import Iterator

from autosteer_core.questions import SetKind
from pipelines.evaluation_results import Evaluation
from pipelines.evaluation_tables import columns_of, shown_cell
from pipelines.page import page
from pipelines.pictures.layers import layers_picture
from pipelines.pictures.reliability import reliability_picture
from pipelines.pictures.roc import roc_picture
from pipelines.pictures.svg import data_uri
from pipelines.pictures.sweep import sweep_picture


def evaluation_html(found: Evaluation) -> bytes:
    """Every value is escaped; the page's policy allows embedded pictures and nothing else."""
    tables = [
        (name, columns_of(lines), lines) for name, lines in (("Answers", found.table), ("Detection", found.detection))
    ]
    values = {
        "found": found,
        "guarantee": found.bundle.guarantee,
        "tables": tables,
        "shown": shown_cell,
        "pictures": list(_pictures(found)),
        "leaks": found.leakage.counts() if found.leakage else {},
    }
    return page("evaluation", values, pictures=True)


def _pictures(found: Evaluation) -> Iterator[tuple[str, str]]:
    """Title and `src` of each picture that the rows allow."""
    choice = found.bundle.report.get("layer_choice")
    if choice:
        yield "Layers", data_uri(layers_picture(choice, found.bundle.layers))
    kinds = {row.kind for row in found.questions}
    if SetKind.HARMFUL in kinds:
        for other in (SetKind.BENIGN, SetKind.OVER_REFUSAL):
            if other in kinds:
                yield f"ROC: harmful against {other}", data_uri(roc_picture(found.questions, found.detectors, other))
        yield "Calibration", data_uri(reliability_picture(found.questions, found.detectors[0]))
    if found.sweep:
        yield "Strength of the edit", data_uri(sweep_picture(found.sweep, found.bundle.head.epsilon))
