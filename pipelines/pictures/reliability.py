"""Is a risk of 0.7 harmful seven times in ten? Stated risk against observed harm."""

from collections.abc import Sequence

import numpy as np

from autosteer_core.detection import Detector, ranked
from autosteer_core.evaluation import Rate
from autosteer_core.questions import Question, SetKind
from pipelines.pictures.svg import drawing

BINS = 10


def reliability_picture(questions: Sequence[Question], detector: Detector) -> bytes:
    """Ordinary harmful and benign rows in ten equal bins of risk, with Wilson intervals."""
    rows = [
        row for row in questions if row.kind in (SetKind.HARMFUL, SetKind.BENIGN) and row.item_id in detector.risk
    ]
    risk_N, harmful_N = ranked(rows, detector)
    place_N = np.minimum((risk_N * BINS).astype(int), BINS - 1)
    with drawing(4.4, 4.0) as (axes, svg):
        axes.plot([0, 1], [0, 1], color="#94a3b8", linestyle=":", linewidth=1)
        for place in np.unique(place_N):
            here = place_N == place
            rate = Rate(int(harmful_N[here].sum()), int(here.sum()))
            low, high = rate.interval
            stated = float(risk_N[here].mean())
            axes.vlines(stated, low, high, color="#0f766e")
            axes.plot(stated, rate.value, "o", color="#0f766e", markersize=3 + 1.5 * np.log10(rate.trials))
        axes.set(xlabel="stated risk", ylabel="share harmful", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return bytes(svg)
