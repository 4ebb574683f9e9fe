"""What the strength of the edit buys and costs."""

from collections.abc import Sequence

from autosteer_core.epsilon_sweep import SweepPoint
from pipelines.pictures.svg import COLOURS, drawing

_NAMES = {
    "attack_success": "attack success, harmful rows",
    "false_refusals": "refused, benign rows",
    "changed": "answer differs, benign rows",
}


def sweep_picture(points: Sequence[SweepPoint], own: float) -> bytes:
    """Every row steered, by epsilon; the bundle's own is dotted."""
    epsilons = [point.epsilon for point in points]
    with drawing() as (axes, svg):
        for colour, (name, label) in zip(COLOURS, _NAMES.items(), strict=False):
            rates = [getattr(point, name) for point in points]
            axes.plot(epsilons, [rate.value for rate in rates], marker="o", markersize=3, color=colour, label=label)
            axes.fill_between(
                epsilons, *zip(*(rate.interval for rate in rates), strict=True), color=colour, alpha=0.12
            )
        axes.axvline(own, color="#1c2430", linewidth=0.8, linestyle=":")
        axes.set(xlabel="epsilon (dotted: the bundle's)", ylabel="share of rows", ylim=(-0.02, 1.02))
        axes.legend(fontsize=7)
    return bytes(svg)
