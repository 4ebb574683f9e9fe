"""A registry as tables for a terminal, and as values for a program."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from autosteer_core.registry_state import Published, Stage, State
from autosteer_core.values import BundleId

_SHOWN_METRICS = 4
_STYLES = {Stage.PROMOTED: "green", Stage.RECALLED: "red", Stage.REFUSED: "red", Stage.ROLLED_BACK: "yellow"}


def as_values(state: State) -> dict[str, Any]:
    """Everything but the signatures; bundles in the order in which they came."""
    return {
        "number": state.number, "audit_head": state.head and str(state.head), "epoch": state.epoch,
        "serving": state.serving, "shadow": state.shadow, "canary": state.canary,
        "bundles": [
            {"bundle_id": each, "stage": str(stage), **asdict(state.records.get(each, Published()))}
            for each, stage in in_order(state).items()
        ],
        "moves": [asdict(move) for move in state.moves()],
    }  # fmt: skip


def bundles_table(state: State) -> Table:
    """One line a bundle."""
    table = Table("bundle", "stage", "parent", "published", "metrics", title=_title(state))
    for each, stage in in_order(state).items():
        about = state.records.get(each, Published())
        shown = f"{stage} {state.canary:.0%}" if stage == Stage.CANARY else str(stage)
        row = (each, shown, about.parent or "-", about.at[:19], shown_metrics(about.metrics))
        table.add_row(*row, style=_STYLES.get(stage, ""))
    return table


def moves_table(state: State) -> Table:
    """One line for each thing that was done to a bundle, the latest last."""
    table = Table("entry", "at", "what", "bundle", "who", "why", title="what was done")
    for move in state.moves():
        table.add_row(str(move.number), move.at[:19], move.deed, move.bundle_id, move.who or "-", move.reason or "-")
    return table


def shown_metrics(metrics: Mapping[str, Any], most: int = _SHOWN_METRICS) -> str:
    """The first few that are plain numbers."""
    numbers = {name: value for name, value in metrics.items() if type(value) in {int, float}}
    return ", ".join(f"{name} {value:.4g}" for name, value in list(numbers.items())[:most]) or "-"


def in_order(state: State) -> dict[BundleId, Stage]:
    """As they came: one that was refused without being published has its place by that."""
    came = dict.fromkeys(move.bundle_id for move in state.moves())
    return {each: state.stages[each] for each in came}


def _title(state: State) -> str:
    return f"serving {state.serving or 'none'} since entry {state.epoch}, {len(state.stages)} bundles"
