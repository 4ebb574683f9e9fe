"""Rules that every row of a verdict file must keep, whatever wrote it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autosteer_core.records import CommitRecord
from autosteer_core.run import FOLLOWING
from autosteer_core.values import Action
from pipelines.violation import Violation

Row = Mapping[str, Any]

_GOOD = {Action.ANSWER, Action.ALLOW}
_BAD = {Action.ERROR, Action.REVIEW}
_SHOWN = 5


def check_fail_closed(record: CommitRecord, rows: Sequence[Row], *, gated: bool) -> Iterator[Violation]:
    """I7; `gated` is False for a run in which a model judges answers, which has no gate."""
    rules: dict[str, Callable[[Row], bool]] = {
        "have an error or no risk, and are answered or allowed all the same": _answered_in_spite,
        "have a risk outside [0, 1]": lambda row: row["risk"] is not None and not 0 <= row["risk"] <= 1,
        "are errors or for review, and hold an answer": lambda row: (
            row["action"] in _BAD and row["answer"] is not None
        ),
    }
    if gated:
        rules |= {
            "are answered or allowed with no gate evaluated, or with an open one": _ungated,
            "are refused or flagged under a closed gate": _refused_without_gate,
        }
    for what, broken in rules.items():
        numbers = [row["row"] for row in rows if broken(row)]
        if numbers:
            yield Violation("I7", record.key, f"{_some(numbers)} {what}: do not publish them, run the part again")


def check_reasons(record: CommitRecord, rows: Sequence[Row]) -> Iterator[Violation]:
    """I8."""
    silent = [row["row"] for row in rows if row["action"] == Action.ERROR and not row["error_message"]]
    if silent:
        yield Violation("I8", record.key, f"{_some(silent)} are errors without a reason: run the part again")
    blamed = [row["row"] for row in rows if row["error_code"] == "E_POISONED"]
    if blamed and len(rows) > 1:
        yield Violation(
            "I8", record.key, f"{_some(blamed)} are called poisonous beside other rows: run the part again"
        )


def check_versions(record: CommitRecord, rows: Sequence[Row], run: Mapping[str, Any]) -> Iterator[Violation]:
    """I6."""
    follows = run["bundle_id"] == FOLLOWING
    bundle_id = record.bundle_id if follows else run["bundle_id"]
    if follows and bundle_id is None and any(row["action"] != Action.ERROR for row in rows):
        yield Violation(
            "I6", record.key, "its record names no bundle, and not all of its rows are errors: run it again"
        )
    expected = {"run_id": run["run_id"], "bundle_id": bundle_id, "part_id": record.part_id}
    if not follows and record.bundle_id not in (None, bundle_id):
        yield Violation("I6", record.key, f"its record names bundle {record.bundle_id}, the run is of {bundle_id}")
    for name, value in expected.items():
        others = {str(row[name]) for row in rows} - {str(value)}
        if others:
            yield Violation("I6", record.key, f"{name} is {', '.join(sorted(others)[:_SHOWN])}, expected {value}")
    models = {str(row["model_fingerprint"]) for row in rows}
    if len(models) > 1:
        yield Violation("I6", record.key, f"rows were made by {len(models)} models, expected one")


def check_attempt(lost: str, rows: Sequence[Row], winner: Mapping[int, Row]) -> Iterator[Violation]:
    """I9: the rows of an attempt that was not committed, against those that were."""
    differing = [row["row"] for row in rows if not _alike(row, winner.get(row["row"]))]
    if differing:
        yield Violation(
            "I9", lost, f"{_some(differing)} were decided otherwise than in the attempt that was committed: "
            "the model is not the same at every run, look at its dtype and device",
        )  # fmt: skip


def _alike(row: Row, other: Row | None) -> bool:
    if other is None or _BAD & {row["action"], other["action"]}:
        return True  # memory, a person's retry, or a death in between may tell them apart
    if row["bundle_id"] != other["bundle_id"]:
        return True  # a part that is claimed again may be of another bundle, and a recalled one is
    return bool(row["action"] == other["action"])


def _answered_in_spite(row: Row) -> bool:
    unsure = row["error_code"] is not None or row["risk"] is None or math.isnan(row["risk"])
    return row["action"] in _GOOD and unsure


def _ungated(row: Row) -> bool:
    return row["action"] in _GOOD and (row["gate_open"] is not False or row["gate_evaluations"] < 1 or _above(row))


def _above(row: Row) -> bool:
    return row["risk"] is None or row["threshold"] is None or not row["risk"] < row["threshold"]


def _refused_without_gate(row: Row) -> bool:
    return row["action"] in (Action.REFUSE, Action.FLAG) and row["gate_open"] is not True


def _some(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"rows {', '.join(map(str, numbers[:_SHOWN]))}{more}"
