"""An evaluation as tables for a terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from autosteer_core.evaluation import Rate
from autosteer_core.guarantee_check import GuaranteeCheck
from autosteer_core.judging import JudgeCounts
from autosteer_core.metrics import Estimate
from autosteer_core.table_one import Line
from pipelines.evaluation_results import Evaluation


def evaluation_tables(found: Evaluation) -> Iterator[Table]:
    """Leakage, answers (the paper's Table 1), detection, judges, guarantee, strengths; empty ones are left out."""
    if found.leakage is not None:
        yield leakage_table(found)
    yield _line_table("answers: 95 % intervals, n rows; the same rows for every column with the same n", found.table)
    yield _line_table("detection: at each gate's own threshold, and over all thresholds", found.detection)
    yield judge_table(found.judging)
    if found.guarantee:
        yield guarantee_table(found.guarantee)


def columns_of(lines: Sequence[Line]) -> list[str]:
    """Every condition or detector that a line has, in the order of first mention."""
    return list(dict.fromkeys(name for line in lines for name in line.cells))


def shown_cell(cell: Rate | Estimate | None) -> str:
    """The number, its interval and how many rows it rests on."""
    if cell is None:
        return "-"
    return f"{cell} n={cell.trials}" if isinstance(cell, Rate) else str(cell)


def _line_table(title: str, lines: Sequence[Line]) -> Table:
    columns = columns_of(lines)
    table = Table("metric", "set", *columns, title=title)
    previous = ""
    for line in lines:
        if line.metric != previous:
            table.add_section()
        name = "" if line.metric == previous else line.metric
        previous = line.metric
        place = line.scope if line.modality == "mixed" else f"{line.scope} ({line.modality})"
        table.add_row(name, place, *(shown_cell(line.cells.get(column)) for column in columns))
    return table


def leakage_table(found: Evaluation) -> Table:
    """Rows that repeat a calibration row are in no rate."""
    table = Table("set", "rows", "dropped: seen in calibration", title="leakage check")
    for name, counts in found.leakage.counts().items() if found.leakage else ():
        reasons = ", ".join(f"{key} {count}" for key, count in counts.items() if key not in ("rows", "leaked"))
        table.add_row(name, str(counts["rows"]), f"{counts['leaked']}{f' ({reasons})' if reasons else ''}")
    return table


def judge_table(judging: Sequence[JudgeCounts]) -> Table:
    """Keywords alone would have counted more refusals than both judges do."""
    columns = ("condition", "rows", "answers", "refusals", "keywords alone", "broken")
    models = list(dict.fromkeys(name for counts in judging for name in counts.judge_disagrees))
    table = Table(*columns, *(f"{name} disagrees" for name in models), title="judges")
    for counts in judging:
        numbers = (counts.answers, counts.refusals, counts.keywords_alone, counts.degenerate)
        disagreements = (shown_cell(counts.judge_disagrees.get(name)) for name in models)
        table.add_row(counts.condition, str(counts.kind), *(str(number) for number in numbers), *disagreements)
    return table


def guarantee_table(checks: Sequence[GuaranteeCheck]) -> Table:
    """The first share is the claim; the second fluctuates with the held-out half, and is shown beside it."""
    table = Table(
        "alpha", "delta", "true miss rate above alpha", "held-out half above alpha", "mean miss rate",
        "mean false refusals", "verdict",
        title=f"guarantee: {checks[0].splits} random splits of {checks[0].pool} harmful rows",
    )  # fmt: skip
    for check in checks:
        shares = (check.exceeded, check.exceeded_held_out, check.mean_miss_rate, check.mean_false_refusal_rate)
        verdict = "vacuous" if check.vacuous else "holds" if check.holds else "broken"
        table.add_row(f"{check.alpha:g}", f"{check.delta:g}", *(f"{share:.1%}" for share in shares), verdict)
    return table
