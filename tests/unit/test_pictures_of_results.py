"""Pictures of an evaluation: their structure, not their pixels."""

import re
from xml.etree import ElementTree

import numpy as np

from autosteer_core.detection import Detector
from autosteer_core.epsilon_sweep import SweepPoint
from autosteer_core.evaluation import Rate
from autosteer_core.questions import Question, SetKind
from autosteer_core.registry import Published
from infra.memory_store import MemoryStore
from pipelines.pictures.layers import layers_picture
from pipelines.pictures.lineage import lineage_picture
from pipelines.pictures.reliability import reliability_picture
from pipelines.pictures.roc import roc_picture
from pipelines.pictures.sweep import sweep_picture
from tests.registries import files, registry

ROWS = [
    Question(f"{kind}{place}", str(kind), kind, "text", f"{kind}{place}")
    for kind in (SetKind.HARMFUL, SetKind.BENIGN)
    for place in range(40)
]
RISKS = {row.item_id: place / 80 for place, row in enumerate(reversed(ROWS))}
CHOICE = {"layers": [1, 2, 3], "recall": {"text": [0.2, 0.9, 0.5]}, "score": [0.1, 0.2, float("nan")]}


def paths(svg: bytes) -> int:
    """Lines and markers drawn; also proves that the SVG is well formed and loads nothing."""
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert not re.search(rb"<script|<image|href=\"(?!#)", svg)
    return len(root.findall(".//{http://www.w3.org/2000/svg}g[@id]"))


def test_the_roc_has_a_curve_per_detector() -> None:
    one = roc_picture(ROWS, [Detector("probe", RISKS)], SetKind.BENIGN)
    two = roc_picture(ROWS, [Detector("probe", RISKS), Detector("words", RISKS)], SetKind.BENIGN)

    assert paths(two) > paths(one)


def test_layers_without_a_score_are_drawn_all_the_same() -> None:
    without = CHOICE | {"score": [float("nan")] * 3}

    assert paths(layers_picture(CHOICE, [2])) > paths(layers_picture(without, [2])) > 0


def test_reliability_has_a_point_per_filled_bin() -> None:
    few = {item: round(risk) for item, risk in RISKS.items()}

    assert paths(reliability_picture(ROWS, Detector("probe", RISKS))) > paths(
        reliability_picture(ROWS, Detector("probe", few))
    )


def test_the_sweep_draws_three_rates_and_the_same_bytes_twice() -> None:
    points = [
        SweepPoint(epsilon, Rate(10 - place, 10), Rate(place, 10), Rate(place, 10))
        for place, epsilon in enumerate(np.linspace(0, 0.4, 5))
    ]

    assert paths(sweep_picture(points, 0.1)) > 0
    assert sweep_picture(points, 0.1) == sweep_picture(points, 0.1)


def test_the_lineage_has_an_arrow_from_a_parent_and_the_same_bytes_twice() -> None:
    def drawn(known_parent: bool) -> bytes:
        alone = registry(MemoryStore())
        first = alone.publish(files(0), Published(metrics={"auroc": 0.9}))
        alone.publish(files(1), Published(parent=first if known_parent else None))
        alone.promote(first, "<script>$x$</script>", "ann")
        return lineage_picture(alone.state())

    assert paths(drawn(True)) > paths(drawn(False))
    assert drawn(True) == drawn(True)


def test_an_empty_registry_has_a_lineage_too() -> None:
    assert paths(lineage_picture(registry(MemoryStore()).state())) > 0
