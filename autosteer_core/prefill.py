"""Run prompts through the model's own forward; what all of them begin with runs once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from autosteer_core.backbones.base import Backbone, Prompt


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Keys and values of several prompts, where in them each row's own tokens lie, and its last token's position.

    `own_NT` is False at padding; `last_N` is the rotary position of the last prompt token.
    """

    cache: Any
    own_NT: Tensor
    last_N: Tensor


class Prefill:
    """Runs prompts; where the family shares a prefix, that part ran once: about half of a short prompt's cost."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._ids = backbone.shared_prefix
        self._cache: Any = self._open() if self._ids else None

    def run(self, prompts: Sequence[Prompt]) -> None:
        """One forward pass for all rows, for what hooks read on the way."""
        inputs = self._inputs(prompts)
        with self._backbone.features.reused():
            self._backbone.body(**inputs, use_cache="past_key_values" in inputs)

    def keep(self, prompts: Sequence[Prompt]) -> Prefilled:
        """The same pass, with its keys and values: all of them, also those that a window has passed."""
        inputs = self._inputs(prompts)
        cache = inputs.setdefault("past_key_values", DynamicCache())
        with self._backbone.features.reused():
            self._backbone.body(**inputs, use_cache=True)
        last_N = inputs["position_ids"][..., -1].reshape(-1, len(prompts)).amax(dim=0)
        return Prefilled(cache, inputs["attention_mask"].bool(), last_N)

    def _inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Every row at its own positions: padding on the left does not move it."""
        skip = len(self._ids)
        if self._cache is None or any(prompt.ids[:skip] != self._ids for prompt in prompts):
            # A system message stands in the place of the template's own: such a batch runs whole.
            inputs = dict(self._backbone.collate(prompts))
            return inputs | {"position_ids": self._backbone.positions(inputs)}
        inputs = dict(self._backbone.collate(prompts, skip))
        return inputs | self._after_prefix(inputs["attention_mask"])

    def _open(self) -> Any:
        ids = torch.tensor([self._ids], device=self._backbone.model.device)
        return self._backbone.body(input_ids=ids, use_cache=True).past_key_values

    def _after_prefix(self, mask_NT: Tensor) -> dict[str, Any]:
        """The cache for every row; only plain positions allow a shared prefix."""
        count = len(self._ids)
        whole_NT = torch.cat([mask_NT.new_ones(len(mask_NT), count), mask_NT], dim=1)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(mask_NT))
        positions_NT = (whole_NT.cumsum(dim=1) - 1).clamp_min(0)[:, count:]
        return {"attention_mask": whole_NT, "position_ids": positions_NT, "past_key_values": cache}
