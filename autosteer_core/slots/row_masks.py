"""Which keys each row in flight attends to: its own, and where a layer has a window, the newest of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autosteer_core.errors import UserMistake

_FULL, _WINDOW = "full_attention", "sliding_attention"
_STRETCHED = {"dynamic", "longrope"}  # a row's angles would depend on its neighbours' lengths

Masks = Tensor | Mapping[str, Tensor]


class RowMasks:
    """Additive masks, (N, 1, 1, seen): one for all layers, or one for each kind of layer as the model names them.

    Raises:
        UserMistake: a kind of layer whose rows cannot be told apart by a mask.
    """

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        text = config.get_text_config()
        self._dtype = dtype
        self._windows = _windows(text)
        rope = getattr(text, "rope_parameters", None) or {}
        unknown = sorted(set(self._windows) - {_FULL, _WINDOW}) + sorted(_STRETCHED & _rope_types(rope))
        if unknown:
            raise UserMistake(
                f"model family {config.model_type} has {unknown[0]}, which the slot engine cannot serve: "
                "set engine=static"
            )

    def build(self, places_N: Tensor, seen: int) -> Masks:
        """For rows whose newest token is at `places_N`; what lies beyond it in a slot is not the row's."""
        back_NS = places_N[:, None] - torch.arange(seen, device=places_N.device)
        masks = {kind: self._mask(back_NS, window) for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, back_NS: Tensor, window: int | None) -> Tensor:
        hidden_NS = back_NS < 0 if window is None else (back_NS < 0) | (back_NS >= window)
        mask_NS = torch.zeros(hidden_NS.shape, dtype=self._dtype, device=hidden_NS.device)
        return mask_NS.masked_fill(hidden_NS, torch.finfo(self._dtype).min)[:, None, None]


def _windows(text: Any) -> dict[str, int | None]:
    """Kinds of layers and their windows, in tokens."""
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or [_FULL if window is None else _WINDOW]
    return {kind: window if kind == _WINDOW else None for kind in sorted(set(kinds))}


def _rope_types(rope: Mapping[str, Any]) -> set[str]:
    """Of all layers, or of each kind of layer where they differ."""
    nested = [value for value in rope.values() if isinstance(value, Mapping)]
    return {str(each.get("rope_type")) for each in [rope, *nested]}
