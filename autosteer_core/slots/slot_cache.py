"""A key-value cache of slots: every row writes at its own position, and a freed slot is handed on without a trace."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH = 64  # capacity comes in steps, so that it seldom has to grow
_ROUNDED = 8  # what attention sees comes in steps too, as kernels like it


@dataclass(slots=True)
class Aim:
    """Where the next step writes: row n at place `places_N[n]`; its attention sees the first `seen` places."""

    places_N: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    rows_N: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    seen: int = 0
    capacity: int = 0


class SlotLayer(CacheLayerMixin):
    """Keys and values of one block, (slots, heads, capacity, d); index = position, so a slot has no padding."""

    def __init__(self, slots: int, aim: Aim) -> None:
        super().__init__()
        self._slots = slots
        self._aim = aim

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Zeros, because a mask does not silence NaN."""
        self.keys, self.values = self._empty(key_states), self._empty(value_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token a row, (N, heads, 1, d); what the rows in flight have so far, cut to the longest."""
        # A model may be spread over devices, block by block.
        rows_N, places_N = (index_N.to(key_states.device) for index_N in (self._aim.rows_N, self._aim.places_N))
        self.keys[rows_N, :, places_N] = key_states[:, :, 0]
        self.values[rows_N, :, places_N] = value_states[:, :, 0]
        rows, seen = len(key_states), self._aim.seen
        return self.keys[:rows, :, :seen], self.values[:rows, :, :seen]

    def put(self, slot: int, keys_HTD: Tensor, values_HTD: Tensor, used: int) -> None:
        """A prompt into a slot; `used` places hold what was there before."""
        if not self.is_initialized:
            self.lazy_initialization(keys_HTD[None], values_HTD[None])
        length = keys_HTD.shape[1]
        for states, fresh_HTD in ((self.keys, keys_HTD), (self.values, values_HTD)):
            states[slot, :, :length] = fresh_HTD
            states[slot, :, length:used] = 0

    def grow(self) -> None:
        """More capacity, same contents."""
        if self.is_initialized:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """What attention sees, from place 0."""
        return self._aim.seen, 0

    def get_seq_length(self) -> int:
        """Places before the newest of the longest row."""
        return max(self._aim.seen - 1, 0)

    def get_max_length(self) -> int:
        """Places of a slot."""
        return self._aim.capacity

    def _empty(self, like_NHTD: Tensor) -> Tensor:
        _, heads, _, width = like_NHTD.shape
        return like_NHTD.new_zeros(self._slots, heads, self._aim.capacity, width)

    def _grown(self, states: Tensor) -> Tensor:
        grown = self._empty(states)
        grown[:, :, : states.shape[2]] = states
        return grown


class SlotCache(Cache):
    """One layer a block; the rows in flight are always the first ones, so a step costs no more than they need.

    With `few_shapes` every slot takes part in every step, and sizes are powers of two: a compiled step wants that.
    """

    def __init__(self, slots: int, blocks: int) -> None:
        self._aim = Aim()
        self.few_shapes = False
        self._used = [0] * slots
        self._blocks = blocks
        super().__init__(layers=[SlotLayer(slots, self._aim) for _ in range(blocks)])

    @property
    def capacity(self) -> int:
        """Places of every slot; 0 while nothing is held."""
        return self._aim.capacity

    def clear(self, slots: int) -> None:
        """Hold nothing, and from now on so many slots."""
        self._aim.capacity = 0
        self._used = [0] * slots
        self.layers: list[CacheLayerMixin] = [SlotLayer(slots, self._aim) for _ in range(self._blocks)]

    def reserve(self, places: int) -> None:
        """Make room for rows of so many tokens."""
        if places > self._aim.capacity:
            self._aim.capacity = self._rounded(places, _GROWTH)
            for layer in self.layers:
                layer.grow()

    def put(self, slot: int, prompts: Cache, row: int, own_T: Tensor) -> None:
        """A prefilled row's own tokens (`own_T` is False at padding) into a slot."""
        own = own_T.nonzero().flatten()
        for layer, prefilled in zip(self.layers, prompts.layers, strict=True):
            keys_HTD, values_HTD = (
                states[row].index_select(1, own.to(states.device)) for states in (prefilled.keys, prefilled.values)
            )
            layer.put(slot, keys_HTD, values_HTD, self._used[slot])
        self._used[slot] = len(own)

    def move(self, source: int, target: int) -> None:
        """The row of one slot into another."""
        length = self._used[source]
        for layer in self.layers:
            layer.put(target, layer.keys[source, :, :length], layer.values[source, :, :length], self._used[target])
        self._used[target] = length

    def aim(self, places: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
        """The next step writes row n at `places[n]`; the same as a tensor, and how many places attention will see."""
        aim = self._aim
        aim.places_N = torch.tensor([*places, *[0] * self.idle(len(places))], device=device)
        aim.rows_N = torch.arange(len(aim.places_N), device=device)
        aim.seen = min(self._rounded(max(places) + 1, _ROUNDED), aim.capacity)
        self._used[: len(places)] = [place + 1 for place in places]
        return aim.places_N, aim.seen

    def idle(self, live: int) -> int:
        """Free slots that take part in a step beside `live` rows: they write at place 0, which no prompt leaves."""
        return len(self._used) - live if self.few_shapes else 0

    def _rounded(self, places: int, step: int) -> int:
        if self.few_shapes:
            return max(_GROWTH, 1 << (places - 1).bit_length())
        return -(-places // step) * step
