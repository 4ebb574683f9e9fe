"""The fast engine: slots are refilled while decoding, and the gate is decided at prefill."""

from collections.abc import Iterable, Iterator, Sequence

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.course import course
from autosteer_core.engine import EngineOptions, in_order
from autosteer_core.readers import Held, Readers, audited_by
from autosteer_core.risk_reading import RiskReader
from autosteer_core.slots.compiled_blocks import CompiledBlocks
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.values import Item, Verdict


class SlotEngine:
    """Rows in slots behind the Engine port; refuses a bundle of another model.

    `held` gives the bundles that items name; rows of all of them are in flight side by side.
    """

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions, held: Held | None = None) -> None:
        self._backbone = backbone
        self._options = options
        self._reader = self._reader_of(bundle)
        self._readers = Readers(self._reader, held)
        self._decoder = SlotDecoder(
            backbone, options.slots, options.sampling, options.pulse, whole=options.compare, budget=options.budget
        ).through(CompiledBlocks(backbone) if options.compile else None)

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        return audited_by(self._readers, items)

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in the order of `items`."""
        return in_order(self.stream(items))

    def generate_under(self, items: Sequence[Item], bundles: Sequence[Bundle]) -> list[Verdict]:
        """The same with a bundle an item; rows of all bundles are in flight side by side."""
        distinct = {id(bundle): bundle for bundle in bundles}
        readers = {key: self._reader_of(bundle) for key, bundle in distinct.items()}
        asked = zip(self._reader.encoded(items), bundles, strict=True)
        courses = (course(readers[id(bundle)], item, prompt) for (item, prompt), bundle in asked)
        return in_order(self._decoder.drive(courses))

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """Verdicts as they finish, with the places of their items; a few times `slots` items are read ahead.

        Raises:
            RuntimeError: another stream of this engine has not ended yet.
        """
        asked = self._reader.encoded(items)
        return self._decoder.drive(course(self._readers.of(item), item, prompt) for item, prompt in asked)

    def _reader_of(self, bundle: Bundle) -> RiskReader:
        bundle.require_model(self._backbone)
        return RiskReader(self._backbone, bundle.to(self._backbone.model.device), self._options)
