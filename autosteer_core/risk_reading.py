"""From items to verdicts without an answer: encode, read the risk, decide the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autosteer_core.activations import read_each_site
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.values import Action, Item, Verdict
from autosteer_core.verdict_stages import broken, gated

_AUDITED = {Action.ANSWER: Action.ALLOW, Action.REFUSE: Action.FLAG}


@dataclass(frozen=True, slots=True)
class RiskReader:
    """Reads items with the probe of one bundle."""

    backbone: Backbone
    bundle: Bundle
    options: EngineOptions

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        verdicts = self.judge(items, [self.encode(item) for item in items])
        return [replace(verdict, action=_AUDITED.get(verdict.action, verdict.action)) for verdict in verdicts]

    def encode(self, item: Item) -> Prompt | BadItem:
        """The item as the model sees it, or why it cannot: a bad item costs its own row."""
        try:
            if item.flaw is not None:
                raise BadItem(item.flaw.code, item.flaw.message)
            return self.backbone.encode(item)
        except BadItem as error:
            return error

    def judge(self, items: Sequence[Item], encoded: Sequence[Prompt | BadItem]) -> list[Verdict]:
        """A verdict without an answer for every item."""
        risks = iter(self._read([prompt for prompt in encoded if not isinstance(prompt, BadItem)]))
        return [
            broken(item, prompt) if isinstance(prompt, BadItem) else self.decide(item, prompt, next(risks))
            for item, prompt in zip(items, encoded, strict=True)
        ]

    def decide(self, item: Item, prompt: Prompt, risk: float | BadItem) -> Verdict:
        """The gate at this risk; near the threshold it is read again alone, so that batch shape cannot decide."""
        threshold = self.bundle.threshold(item.modality)
        borderline = not isinstance(risk, BadItem) and abs(risk - threshold) < self.options.band
        final = self._read([prompt])[0] if borderline else risk
        if isinstance(final, BadItem):
            return broken(item, final)
        return gated(item, final, threshold, borderline=borderline)

    def _read(self, prompts: Sequence[Prompt]) -> list[float | BadItem]:
        rows = read_each_site(
            self.backbone, prompts, self.bundle.sites, self.options.budget, lambda done: self.options.pulse()
        )
        read = [row for row in rows if not isinstance(row, BadItem)]
        risks = iter(self._risks(torch.stack(read)) if read else [])
        return [row if isinstance(row, BadItem) else next(risks) for row in rows]

    def _risks(self, activations_ND: Tensor) -> list[float]:
        risks: list[float] = self.bundle.probe.risk(activations_ND.to(self.backbone.model.device)).tolist()
        return risks
