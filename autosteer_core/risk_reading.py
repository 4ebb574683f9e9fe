"""From items to verdicts without an answer: encode, read the risk, decide the gate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autosteer_core.activations import read_each_site
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.budget import Budget, fitting, too_large
from autosteer_core.bundle import Bundle
from autosteer_core.encoding import Encoded, InlineEncoder
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.kept_activations import kept
from autosteer_core.probe import Measured
from autosteer_core.values import Action, BundleId, Item, Verdict
from autosteer_core.verdict_stages import broken, gated

_AUDITED = {Action.ANSWER: Action.ALLOW, Action.REFUSE: Action.FLAG}


def measure(
    backbone: Backbone, bundle: Bundle, prompts: Sequence[Prompt], budget: Budget, pulse: Callable[[], None]
) -> list[Measured | BadItem]:
    """What the bundle's probe reads of every prompt; blocks below its layer run, nothing is decoded."""
    return probed(bundle, read_each_site(backbone, prompts, bundle.sites, budget, lambda done: pulse()))


def probed(bundle: Bundle, rows: Sequence[Tensor | BadItem]) -> list[Measured | BadItem]:
    """Every row that could be read, (len(sites) * d,), in one pass of the probe."""
    read = [row for row in rows if not isinstance(row, BadItem)]
    measured = iter(bundle.probe.measure(torch.stack(read)) if read else [])
    return [row if isinstance(row, BadItem) else next(measured) for row in rows]


@dataclass(frozen=True, slots=True)
class RiskReader:
    """Reads items with the probe of one bundle, whose name it writes on verdicts where it was chosen by name."""

    backbone: Backbone
    bundle: Bundle
    options: EngineOptions
    under: BundleId | None = None

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        encoded = list(self.encoded(items))
        measured = iter(self._read([prompt for _, prompt in encoded if not isinstance(prompt, BadItem)]))
        verdicts = [
            broken(item, prompt) if isinstance(prompt, BadItem) else self.judged(item, prompt, next(measured))
            for item, prompt in encoded
        ]
        return [self.named(audited(verdict)) for verdict in verdicts]

    def named(self, verdict: Verdict) -> Verdict:
        """The verdict with the name of the bundle that made it."""
        return verdict if self.under is None else replace(verdict, under=self.under)

    def encoded(self, items: Iterable[Item]) -> Iterator[Encoded]:
        """Every item with its prompt, as it is asked for; with a pulse each, because pictures take time."""
        encoder = self.options.encoder or InlineEncoder(self.backbone)
        for each in encoder.encode(items):
            self.options.pulse()
            yield each

    def decide(self, item: Item, prompt: Prompt, measured: Measured | BadItem) -> Verdict:
        """The gate at this risk; near the threshold it is read again alone, so that batch shape cannot decide.

        Raises:
            torch.OutOfMemoryError: the device has no memory for that beside what the caller holds.
        """
        if isinstance(measured, BadItem):
            return broken(item, measured)
        threshold = self.bundle.threshold(item.modality)
        borderline = abs(measured.risk - threshold) < self.options.band
        if borderline:
            measured = self._again(prompt)
        verdict = gated(item, measured.risk, threshold, borderline=borderline)
        if not self.options.activations:
            return verdict
        return replace(verdict, activation=kept(item, measured.activation_D))

    def judged(self, item: Item, prompt: Prompt, measured: Measured | BadItem) -> Verdict:
        """The same for a caller that holds no memory of the device: what does not fit then is an error row."""
        decided = fitting(lambda: self.decide(item, prompt, measured))
        return decided[0] if decided else broken(item, too_large(prompt))

    def _again(self, prompt: Prompt) -> Measured:
        with self.backbone.features.ignored():
            [measured] = self._read([prompt])
        if isinstance(measured, BadItem):
            raise torch.OutOfMemoryError(str(measured))
        return measured

    def _read(self, prompts: Sequence[Prompt]) -> list[Measured | BadItem]:
        return measure(self.backbone, self.bundle, prompts, self.options.budget, self.options.pulse)


def audited(verdict: Verdict) -> Verdict:
    """The verdict in the words of an audit, which answers and refuses nothing."""
    return replace(verdict, action=_AUDITED.get(verdict.action, verdict.action))
