"""One audit under several bundles: every row runs once, and each probe reads its own sites of that pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from autosteer_core.activations import read_each_site
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.encoding import Encoded
from autosteer_core.engine import EngineOptions, in_chunks
from autosteer_core.errors import BadItem
from autosteer_core.probe import Measured
from autosteer_core.readers import Held, Readers, grouped
from autosteer_core.risk_reading import RiskReader, audited, probed
from autosteer_core.values import Item, Reading, Site, Verdict
from autosteer_core.verdict_stages import broken

_CHUNK = 64  # rows: enough for those of similar length to meet


class JointAudit:
    """Verdicts of `bundle`, or of that which an item names and `held` gives, with the readings of those `beside` it.

    Raises:
        BundleRefused: a bundle of another model.
    """

    def __init__(
        self,
        backbone: Backbone,
        bundle: Bundle,
        beside: Mapping[str, Bundle],
        options: EngineOptions,
        held: Held | None = None,
    ) -> None:
        placed = [each.to(backbone.model.device) for each in (bundle, *beside.values())]
        for each in placed:
            each.require_model(backbone)
        self._backbone = backbone
        self._options = options
        self._own, *others = (RiskReader(backbone, each, options) for each in placed)
        self._readers = Readers(self._own, held)
        self._beside = dict(zip(beside, others, strict=True))

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order; blocks above the highest site do not run."""
        return self._audited(list(self._own.encoded(items)))

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """The verdicts of one chunk of items after the other, with their places; encoding may run ahead of them."""
        return in_chunks(self._audited, _CHUNK)(self._own.encoded(items))

    def _audited(self, encoded: Sequence[Encoded]) -> list[Verdict]:
        return grouped(self._readers, encoded, lambda each: each[0], self._audited_by)

    def _audited_by(self, own: RiskReader, encoded: Sequence[Encoded]) -> list[Verdict]:
        readers = [own, *self._beside.values()]
        sites = sorted({site for reader in readers for site in reader.bundle.sites})
        rows = self._read([prompt for _, prompt in encoded if not isinstance(prompt, BadItem)], sites)
        measured = zip(*(probed(reader.bundle, _at(reader, rows, sites)) for reader in readers), strict=True)
        verdicts = [
            broken(item, prompt) if isinstance(prompt, BadItem) else self._verdict(own, item, prompt, next(measured))
            for item, prompt in encoded
        ]
        return [own.named(verdict) for verdict in verdicts]

    def _read(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> list[Tensor | BadItem]:
        """Shape (sites * d,) for each."""
        budget, pulse = self._options.budget, self._options.pulse
        return read_each_site(self._backbone, prompts, sites, budget, lambda done: pulse())

    def _verdict(
        self, reader: RiskReader, item: Item, prompt: Prompt, measured: Sequence[Measured | BadItem]
    ) -> Verdict:
        own = audited(reader.judged(item, prompt, measured[0]))
        others = {
            name: reader.judged(item, prompt, read)
            for (name, reader), read in zip(self._beside.items(), measured[1:], strict=True)
        }
        # Without a finite risk there is no reading: the name is missing, and nobody takes that for a closed gate.
        readings = {
            name: Reading(verdict.risk, verdict.gate_open)
            for name, verdict in others.items()
            if verdict.gate_open is not None
        }
        return replace(own, beside=readings)


def _at(reader: RiskReader, rows: Sequence[Tensor | BadItem], sites: Sequence[Site]) -> list[Tensor | BadItem]:
    """What the reader's own sites hold of every row."""
    places = [sites.index(site) for site in reader.bundle.sites]
    return [row if isinstance(row, BadItem) else row.view(len(sites), -1)[places].flatten() for row in rows]
