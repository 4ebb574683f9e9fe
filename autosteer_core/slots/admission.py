"""Prefill requests into free slots; the same pass gives each probe its activations, so the gate is decided here."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from random import Random

import torch

from autosteer_core.activations import Recorded, SitePool, recorded
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.budget import Budget, fitting, too_large
from autosteer_core.decoding import Answer
from autosteer_core.prefill import Prefill, Prefilled
from autosteer_core.probe import Measured
from autosteer_core.slots.slot import Slot
from autosteer_core.slots.slot_cache import SlotCache
from autosteer_core.work import Work

_REFILL = 4  # wait until one slot in so many is free: prompts prefilled together are cheaper
_log = logging.getLogger(__name__)

Numbered = tuple[int, Work]
Waiting = deque[Numbered]
Ended = tuple[int, Answer | None]  # None where a gate turned the work away


class Admission:
    """Puts work into the slots after those in flight; where memory runs out, there are half as many from then on."""

    def __init__(
        self, backbone: Backbone, cache: SlotCache, slots: int, budget: Budget, pulse: Callable[[], None]
    ) -> None:
        self._backbone = backbone
        self._cache = cache
        self._slots = slots
        self._budget = budget
        self._pulse = pulse
        self._crowded = False

    def refill(self, waiting: Waiting, live: list[Slot]) -> list[Ended]:
        """Fill the free slots, where it is time to; work that takes none: turned away, or too large even alone."""
        free = self._slots - len(live)
        if live and (self._crowded or free < min(len(waiting), max(1, self._slots // _REFILL))):
            return []
        self._crowded = False
        ended: list[Ended] = []
        while waiting and len(live) < self._slots and not self._crowded:
            self._pulse()
            ended += self._admit(waiting, live)
        return ended

    def give_way(self, waiting: Waiting, live: list[Slot], batch: Sequence[Numbered] = ()) -> list[Ended]:
        """Memory did not suffice for the rows in flight and those of `batch`: all begin again, in half the slots."""
        rows = [*((slot.number, slot.work) for slot in live), *batch]
        live.clear()
        if self._slots == 1:
            self._cache.clear(1)
            return [_lost(each) for each in rows]
        waiting.extendleft(reversed(rows))
        self._slots //= 2
        self._cache.clear(self._slots)
        _log.warning("out of memory while decoding; going on with %d slots: lower slots", self._slots)
        return []

    def _admit(self, waiting: Waiting, live: list[Slot]) -> list[Ended]:
        batch = self._budget.take(waiting, _prompt, self._slots - len(live))
        read = fitting(lambda: self._read([work for _, work in batch]))
        if not read:
            return self._put_back(batch, waiting, live)
        placed = fitting(lambda: self._placed(batch, *read[0], len(live)))
        if placed:
            live += placed[0]
            taken = {slot.number for slot in placed[0]}
            return [(number, None) for number, _ in batch if number not in taken]
        return self.give_way(waiting, live, batch)

    def _put_back(self, batch: Sequence[Numbered], waiting: Waiting, live: Sequence[Slot]) -> list[Ended]:
        """Memory did not suffice for a prefill: less of it next time, or as soon as no other row is in flight."""
        if len(batch) == 1 and not live and not self._cache.capacity:
            return [_lost(batch[0])]
        waiting.extendleft(reversed(batch))
        if live:  # it is they that fill the memory
            self._crowded = True
        elif len(batch) > 1:
            self._budget.shrink([_prompt(each) for each in batch])
        else:
            self._cache.clear(self._slots)
        return []

    def _placed(
        self, works: Sequence[Numbered], prefilled: Prefilled, measured: Sequence[Measured], first: int
    ) -> list[Slot]:
        """Numbered work in slots `first` and after; what its gate turns away takes none.

        A slot begins one token before its prompt's end: the step that feeds the last one gives the answer's first
        token, so every token comes from the same pass.
        """
        last = prefilled.last_N.tolist()
        slots: list[Slot] = []
        for row, (number, work) in enumerate(works):
            steered = work.steered(measured[row])
            if steered is None:
                continue
            ids = work.request.prompt.ids
            self._cache.reserve(len(ids) + work.request.max_new_tokens)
            self._cache.put(first + len(slots), prefilled.cache, row, prefilled.own_NT[row])
            place = len(ids) - 1
            luck = Random(work.request.seed)
            slots.append(Slot(number, work, steered, place, last[row] - place, ids[-1], random=luck))
        return slots

    @cached_property
    def _prefill(self) -> Prefill:
        """Made at first use: it runs the prefix that all prompts share."""
        return Prefill(self._backbone)

    def _read(self, works: Sequence[Work]) -> tuple[Prefilled, list[Measured]]:
        """Keys and values of the prompts, and what each row's own bundle reads."""
        prompts = [work.request.prompt for work in works]
        layers = sorted({layer for work in works for layer in work.bundle.layers})
        prefill = self._prefill  # made before anybody listens
        pool = SitePool()
        pool.aim(self._backbone, prompts)
        with recorded(self._backbone.blocks, layers, pool) as activations:
            prefilled = prefill.keep(prompts)
        read = [_at_sites(work, activations, row) for row, work in enumerate(works)]
        risks_N = torch.cat([work.bundle.probe.risk(each[None]) for work, each in zip(works, read, strict=True)])
        return prefilled, [Measured(risk, each) for risk, each in zip(risks_N.tolist(), read, strict=True)]


def _at_sites(work: Work, activations: Recorded, row: int) -> torch.Tensor:
    """What the row's probe reads, (len(sites) * d,), on the probe's device."""
    device = work.bundle.probe.mean.device
    return torch.cat([activations[site.layer][row, site.pooling.place].to(device) for site in work.bundle.sites])


def _lost(numbered: Numbered) -> Ended:
    return numbered[0], Answer.missing(too_large(_prompt(numbered)).flaw)


def _prompt(numbered: Numbered) -> Prompt:
    return numbered[1].request.prompt
