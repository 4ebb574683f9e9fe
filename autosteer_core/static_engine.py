"""The reference engine: a truncated forward pass for the risk, then padded batches of `generate`."""

from collections.abc import Iterable, Iterator, Sequence

from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget
from autosteer_core.bundle import Bundle
from autosteer_core.course import course
from autosteer_core.engine import EngineOptions, in_chunks, in_order
from autosteer_core.errors import UserMistake
from autosteer_core.readers import Held, Readers, audited_by
from autosteer_core.risk_reading import RiskReader
from autosteer_core.static_decoder import StaticDecoder
from autosteer_core.values import Item, Verdict

_CHUNK = 16  # batches: enough for rows of similar length to meet; the pictures of so many rows fit in memory


class StaticEngine:
    """Plain Transformers behind the Engine port; refuses a bundle of another model, and sampling.

    `held` gives the bundles that items name; those of one bundle are decoded together.
    """

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions, held: Held | None = None) -> None:
        bundle.require_model(backbone)
        if options.sampling is not None:
            raise UserMistake("the static engine decodes greedily only: use the slot engine to sample")
        self._reader = RiskReader(backbone, bundle.to(backbone.model.device), options)
        self._readers = Readers(self._reader, held)
        self._decoder = StaticDecoder(
            backbone, options.batch_rows, options.pulse, options.budget, Budget.of_pixels(options.budget.pixels)
        )

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        return audited_by(self._readers, items)

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """Rows of similar length are decoded together; the result is in the order of `items`."""
        return in_order(self.stream(items))

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """The verdicts of one chunk of items after the other, with their places."""
        courses = (course(self._readers.of(item), item, prompt) for item, prompt in self._reader.encoded(items))
        return in_chunks(self._decoder.drive, _CHUNK * self._reader.options.batch_rows)(courses)
