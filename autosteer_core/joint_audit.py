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
from autosteer_core.risk_reading import RiskReader, audited, probed
from autosteer_core.values import Item, Reading, Verdict
from autosteer_core.verdict_stages import broken

_CHUNK = 64  # rows: enough for those of similar length to meet


class JointAudit:
    """Verdicts of `bundle`, with the readings of the bundles `beside` it by name.

    Raises:
        BundleRefused: a bundle of another model.
    """

    def __init__(
        self, backbone: Backbone, bundle: Bundle, beside: Mapping[str, Bundle], options: EngineOptions
    ) -> None:
        placed = [each.to(backbone.model.device) for each in (bundle, *beside.values())]
        for each in placed:
            each.require_model(backbone)
        self._backbone = backbone
        self._options = options
        self._own, *others = (RiskReader(backbone, each, options) for each in placed)
        self._beside = dict(zip(beside, others, strict=True))
        self._sites = sorted({site for each in placed for site in each.sites})

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order; blocks above the highest site do not run."""
        return self._audited(list(self._own.encoded(items)))

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """The verdicts of one chunk of items after the other, with their places; encoding may run ahead of them."""
        return in_chunks(self._audited, _CHUNK)(self._own.encoded(items))

    def _audited(self, encoded: Sequence[Encoded]) -> list[Verdict]:
        rows = self._read([prompt for _, prompt in encoded if not isinstance(prompt, BadItem)])
        readers = [self._own, *self._beside.values()]
        measured = zip(*(probed(reader.bundle, self._at(reader, rows)) for reader in readers), strict=True)
        return [
            broken(item, prompt) if isinstance(prompt, BadItem) else self._verdict(item, prompt, next(measured))
            for item, prompt in encoded
        ]

    def _read(self, prompts: Sequence[Prompt]) -> list[Tensor | BadItem]:
        """Shape (sites * d,) for each."""
        budget, pulse = self._options.budget, self._options.pulse
        return read_each_site(self._backbone, prompts, self._sites, budget, lambda done: pulse())

    def _at(self, reader: RiskReader, rows: Sequence[Tensor | BadItem]) -> list[Tensor | BadItem]:
        """What the reader's own sites hold of every row."""
        places = [self._sites.index(site) for site in reader.bundle.sites]
        return [row if isinstance(row, BadItem) else row.view(len(self._sites), -1)[places].flatten() for row in rows]

    def _verdict(self, item: Item, prompt: Prompt, measured: Sequence[Measured | BadItem]) -> Verdict:
        own = audited(self._own.judged(item, prompt, measured[0]))
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
