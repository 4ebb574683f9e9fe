"""The evaluation as one self-contained HTML page: pictures are inside it, it opens offline and runs no script."""

from collections.abc import Iterator

from jinja2 import Environment, PackageLoader, StrictUndefined

from autosteer_core.questions import SetKind
from pipelines.evaluation_results import Evaluation
from pipelines.evaluation_tables import columns_of, shown_cell
from pipelines.pictures.layers import layers_picture
from pipelines.pictures.reliability import reliability_picture
from pipelines.pictures.roc import roc_picture
from pipelines.pictures.svg import data_uri
from pipelines.pictures.sweep import sweep_picture


def evaluation_html(found: Evaluation) -> bytes:
    """Every value is escaped by the template engine; a strict CSP allows embedded pictures and nothing else."""
    environment = Environment(
        loader=PackageLoader("pipelines"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    tables = [
        (name, columns_of(lines), lines) for name, lines in (("Answers", found.table), ("Detection", found.detection))
    ]
    page = environment.get_template("evaluation.html").render(
        found=found, guarantee=found.bundle.guarantee, tables=tables, shown=shown_cell,
        pictures=list(_pictures(found)),
        leaks=found.leakage.counts() if found.leakage else {},
    )  # fmt: skip
    return page.encode()


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
