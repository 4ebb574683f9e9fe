"""Which layer tells harm apart: held-out recall per group (thin) and on average, with the Safety Awareness Score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.pictures.svg import drawing


def layers_picture(choice: Mapping[str, Any], chosen: Sequence[int]) -> bytes:
    """`choice` is the card's `layer_choice`: layers, recall by group, score and its standard error."""
    layers = choice["layers"]
    with drawing() as (axes, svg):
        for recall in choice["recall"].values():
            axes.plot(layers, recall, color="#0f766e", linewidth=0.6, alpha=0.4)
        mean = np.mean(list(choice["recall"].values()), axis=0)
        axes.plot(
            layers, mean, color="#0f766e", marker="o", markersize=3, label="recall at 1 % false positives, mean"
        )
        score = np.array(choice["score"], dtype=float)
        error = np.array(choice.get("score_error") or np.zeros_like(score), dtype=float)
        if np.isfinite(score).any():
            axes.errorbar(
                layers, score, yerror(error), fmt="--s", markersize=3, color="#c2410c", label="Safety Awareness Score"
            )
        for layer in chosen:
            axes.axvline(layer, color="#1c2430", linewidth=0.8, linestyle=":")
        axes.set(xlabel="layer (dotted: chosen)", ylim=(min(0.0, float(np.nanmin([*score, 0.0]))), 1.02))
        axes.legend(fontsize=7)
    return bytes(svg)


def yerror(standard_error: Any) -> Any:
    """A 95 % interval from a standard error."""
    return 1.96 * np.nan_to_num(standard_error)
