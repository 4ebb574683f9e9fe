"""Recall against false positives for every detector, at all thresholds."""

from collections.abc import Sequence

from sklearn.metrics import roc_curve

from autosteer_core.detection import Detector, ranked
from autosteer_core.metrics import auroc
from autosteer_core.questions import Question, SetKind
from pipelines.pictures.svg import drawing


def roc_picture(questions: Sequence[Question], detectors: Sequence[Detector], against: SetKind) -> bytes:
    """Harmful rows against those of kind `against`; the axis of false positives is logarithmic."""
    with drawing() as (axes, svg):
        for detector in detectors:
            kinds = (SetKind.HARMFUL, against)
            rows = [row for row in questions if row.kind in kinds and row.item_id in detector.risk]
            risk_N, harmful_N = ranked(rows, detector)
            if 0 < harmful_N.sum() < len(rows):
                false, true, _ = roc_curve(harmful_N, risk_N)
                axes.plot(false, true, label=f"{detector.name}, AUROC {auroc(risk_N, harmful_N):.3f}")
        axes.set(xlabel=f"{against} rows refused", ylabel="harmful rows caught", xlim=(1e-3, 1), ylim=(0, 1.02))
        axes.set_xscale("log")
        axes.legend(fontsize=7, loc="lower right")
    return bytes(svg)
