"""Gates and rankings per scope and detector."""

from autosteer_core.detection import Detector, detection_lines
from autosteer_core.evaluation import Rate
from autosteer_core.questions import Question, SetKind


def rows() -> list[Question]:
    kinds = {"h": SetKind.HARMFUL, "b": SetKind.BENIGN, "o": SetKind.OVER_REFUSAL, "q": SetKind.ACCURACY}
    return [
        Question(f"{name}{place}", name, kind, "text", f"{name}{place}")
        for name, kind in kinds.items()
        for place in range(20)
    ]


RISK = {"h": 0.8, "b": 0.1, "o": 0.7, "q": 0.0}


def detector(name: str = "probe") -> Detector:
    risk = {row.item_id: RISK[row.set_name] + 0.01 * int(row.item_id[1:]) for row in rows()}
    return Detector(name, risk, {item: value >= 0.75 for item, value in risk.items()})


def test_misses_are_counted_on_harmful_rows_and_openings_on_all_others() -> None:
    lines = {(line.metric, line.scope): line.cells for line in detection_lines(rows(), [detector()])}

    assert lines["missed by the gate", "h"] == {"probe": Rate(0, 20)}
    assert lines["gate opened", "b"] == {"probe": Rate(0, 20)}
    assert lines["gate opened", "o"] == {"probe": Rate(15, 20)}


def test_harm_is_ranked_against_ordinary_and_alarming_rows_apart() -> None:
    lines = {(line.metric, line.scope): line.cells["probe"] for line in detection_lines(rows(), [detector()])
             if "AUROC" in line.metric}  # fmt: skip

    assert lines.keys() == {("AUROC, against benign rows", "h"), ("AUROC, against harmful rows", "o")}
    assert lines["AUROC, against benign rows", "h"].value == 1.0
    assert 0.5 < lines["AUROC, against harmful rows", "o"].value < 1.0


def test_a_detector_without_a_threshold_is_ranked_but_gates_nothing() -> None:
    bare = Detector("words", detector().risk)

    lines = detection_lines(rows(), [detector(), bare])

    gated = [line for line in lines if line.metric == "gate opened"]
    ranked = [line for line in lines if line.metric.startswith("recall at 5 %")]
    assert gated and all(set(line.cells) == {"probe"} for line in gated)
    assert ranked and all(set(line.cells) == {"probe", "words"} for line in ranked)


def test_rows_without_a_risk_are_left_out_of_every_count() -> None:
    short = {item: value for item, value in detector().risk.items() if item != "h0"}
    known = Detector("probe", short, {item: True for item in short})

    [missed] = [line for line in detection_lines(rows(), [known]) if line.metric == "missed by the gate"]

    assert missed.cells == {"probe": Rate(0, 19)}
