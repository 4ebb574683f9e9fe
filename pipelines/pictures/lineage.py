"""Which bundle came from which, and which served when: time runs to the right, by entries of the registry."""

from typing import Any

from autosteer_core.audit_log import Deed
from autosteer_core.registry_state import Stage, State
from autosteer_core.values import BundleId
from pipelines.pictures.svg import drawing
from pipelines.registry_tables import in_order, shown_metrics

_MOST_BUNDLES = 40
_LEFT, _SERVES, _ENDED, _PALE = "#c2410c", "#0f766e", "#64748b", "#94a3b8"
_COLOURS = {
    Stage.PROMOTED: _SERVES,
    Stage.RETIRED: _ENDED,
    Stage.ROLLED_BACK: _LEFT,
    Stage.RECALLED: _LEFT,
    Stage.REFUSED: _LEFT,
}


def lineage_picture(state: State) -> bytes:
    """A row for each of the latest 40 bundles: a dot where it was published, a thick line while it served."""
    rows = {each: place for place, each in enumerate(list(in_order(state))[-_MOST_BUNDLES:])}
    with drawing(height=1.2 + 0.32 * max(len(rows), 1)) as (axes, svg):
        born = _born(state)
        for each, row in rows.items():
            _draw_bundle(axes, state, each, row, born)
            _draw_parent(axes, state, each, rows, born)
        for bundle_id, start, stop in _reigns(state):
            if bundle_id in rows:
                axes.plot([start, stop], [rows[bundle_id]] * 2, color=_SERVES, linewidth=5, solid_capstyle="butt")
        axes.set(xlabel="entry of the registry (thick: serves)", xlim=(0, state.number * 1.02 + 1))
        axes.set_yticks(list(rows.values()), [str(each) for each in rows], fontsize=7, family="monospace")
        axes.set_ylim(len(rows) - 0.4, -0.6)
    return bytes(svg)


def _draw_bundle(axes: Any, state: State, bundle_id: BundleId, row: int, born: dict[BundleId, int]) -> None:
    stage = state.stages[bundle_id]
    colour = _COLOURS.get(stage, _PALE)
    axes.plot([born[bundle_id]], [row], marker="o", markersize=6, color=colour)
    about = state.records.get(bundle_id)
    metrics = shown_metrics(about.metrics, 2) if about else "-"
    said = str(stage) if metrics == "-" else f"{stage}, {metrics}"
    axes.annotate(said, (born[bundle_id], row), (8, 5), textcoords="offset points", fontsize=7, color=colour)


def _draw_parent(
    axes: Any, state: State, bundle_id: BundleId, rows: dict[BundleId, int], born: dict[BundleId, int]
) -> None:
    about = state.records.get(bundle_id)
    if about and about.parent in rows:
        ends = (born[about.parent], rows[about.parent]), (born[bundle_id], rows[bundle_id])
        arrow = {"arrowstyle": "->", "color": _PALE, "connectionstyle": "arc3,rad=0.2"}
        axes.annotate("", ends[1], ends[0], arrowprops=arrow)


def _born(state: State) -> dict[BundleId, int]:
    """The entry in which it was first told of."""
    first: dict[BundleId, int] = {}
    for move in state.moves():
        first.setdefault(move.bundle_id, move.number)
    return first


def _reigns(state: State) -> list[tuple[BundleId, int, int]]:
    """Bundle, from which entry, to which; the last one until now."""
    served = [move for move in state.moves() if move.deed in {Deed.BUNDLE_PROMOTED, Deed.ROLLED_BACK}]
    ends = [move.number for move in served[1:]] + [state.number + 1]
    return [(move.bundle_id, move.number, end) for move, end in zip(served, ends, strict=False)]
