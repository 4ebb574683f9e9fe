"""From items to verdicts without an answer: encode, read the risk, decide the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autosteer_core.activations import read_sites
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.encoding import InlineEncoder
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
        verdicts = self.judge(items, self.encode(items))
        return [replace(verdict, action=_AUDITED.get(verdict.action, verdict.action)) for verdict in verdicts]

    def encode(self, items: Sequence[Item]) -> list[Prompt | BadItem]:
        """The items as the model sees them, or why it cannot: a bad item costs its own row."""
        encoder = self.options.encoder or InlineEncoder(self.backbone)
        return [encoded for _, encoded in encoder.encode(items)]

    def judge(self, items: Sequence[Item], encoded: Sequence[Prompt | BadItem]) -> list[Verdict]:
        """A verdict without an answer for every item."""
        risks = iter(self._read([prompt for prompt in encoded if not isinstance(prompt, BadItem)]))
        return [
            broken(item, prompt) if isinstance(prompt, BadItem) else self.decide(item, prompt, next(risks))
            for item, prompt in zip(items, encoded, strict=True)
        ]

    def decide(self, item: Item, prompt: Prompt, risk: float) -> Verdict:
        """The gate at this risk; near the threshold it is read again alone, so that batch shape cannot decide."""
        threshold = self.bundle.threshold(item.modality)
        borderline = abs(risk - threshold) < self.options.band
        return gated(item, self._read([prompt])[0] if borderline else risk, threshold, borderline=borderline)

    def _read(self, prompts: Sequence[Prompt]) -> list[float]:
        if not prompts:
            return []
        activations_ND = read_sites(
            self.backbone, prompts, self.bundle.sites, self.options.batch_rows, lambda done: self.options.pulse()
        )
        risks: list[float] = self.bundle.probe.risk(activations_ND.to(self.backbone.model.device)).tolist()
        return risks
