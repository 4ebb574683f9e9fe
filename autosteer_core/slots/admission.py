"""Prefill requests into free slots; the same pass gives each probe its activations, so the gate is decided here."""

from collections.abc import Sequence
from random import Random

import torch

from autosteer_core.activations import Recorded, SitePool, recorded
from autosteer_core.backbones.base import Backbone
from autosteer_core.prefill import Prefill, Prefilled
from autosteer_core.slots.slot import Slot
from autosteer_core.slots.slot_cache import SlotCache
from autosteer_core.work import Work


class Admission:
    """Puts work into the slots after those in flight."""

    def __init__(self, backbone: Backbone, cache: SlotCache) -> None:
        self._backbone = backbone
        self._cache = cache
        self._prefill = Prefill(backbone)

    def admit(self, works: Sequence[tuple[int, Work]], first: int) -> list[Slot]:
        """Numbered work into slots `first` and after; what its gate turns away takes none.

        A slot begins one token before its prompt's end: the step that feeds the last one gives the answer's first
        token, so every token comes from the same pass.
        """
        prefilled, risks = self._read([work for _, work in works])
        last = prefilled.last_N.tolist()
        slots: list[Slot] = []
        for row, (number, work) in enumerate(works):
            steered = work.steered(risks[row])
            if steered is None:
                continue
            ids = work.request.prompt.ids
            self._cache.reserve(len(ids) + work.request.max_new_tokens)
            self._cache.put(first + len(slots), prefilled.cache, row, prefilled.own_NT[row])
            place = len(ids) - 1
            luck = Random(work.request.seed)
            slots.append(Slot(number, work, steered, place, last[row] - place, ids[-1], random=luck))
        return slots

    def _read(self, works: Sequence[Work]) -> tuple[Prefilled, list[float]]:
        """Keys and values of the prompts, and the risk that each row's own bundle reads."""
        prompts = [work.request.prompt for work in works]
        layers = sorted({layer for work in works for layer in work.bundle.layers})
        pool = SitePool()
        pool.aim(self._backbone, prompts)
        with recorded(self._backbone.blocks, layers, pool) as activations:
            prefilled = self._prefill.keep(prompts)
        risks_N = torch.cat([_risk(work, activations, row) for row, work in enumerate(works)])
        return prefilled, risks_N.tolist()


def _risk(work: Work, activations: Recorded, row: int) -> torch.Tensor:
    """Shape (1,), on the probe's device."""
    probe = work.bundle.probe
    read = [activations[site.layer][row, site.pooling.place].to(probe.mean.device) for site in work.bundle.sites]
    return probe.risk(torch.cat(read)[None])
