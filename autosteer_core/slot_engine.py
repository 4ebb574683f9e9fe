"""The fast engine: slots are refilled while decoding, and the gate is decided at prefill."""

from collections.abc import Mapping, Sequence

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.finishing import Finisher
from autosteer_core.request import Request, request_of
from autosteer_core.risk_reading import RiskReader
from autosteer_core.slots.slot import Gate, Work
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.values import GateAction, Item, Verdict
from autosteer_core.verdict_stages import broken, missing


class SlotEngine:
    """Rows in slots behind the Engine port; refuses a bundle of another model."""

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions) -> None:
        bundle.require(backbone.fingerprint)
        self._backbone = backbone
        self._bundle = bundle.to(backbone.model.device)
        self._options = options
        self._decoder = SlotDecoder(
            backbone, options.slots, options.sampling, options.pulse, whole=options.compare, budget=options.budget
        )

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        return RiskReader(self._backbone, self._bundle, self._options).audit(items)

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in the order of `items`."""
        return self.generate_under(items, [self._bundle] * len(items))

    def generate_under(self, items: Sequence[Item], bundles: Sequence[Bundle]) -> list[Verdict]:
        """The same with a bundle an item; rows of all bundles are in flight side by side."""
        batches = [
            self._batch(bundle, {place: items[place] for place, other in enumerate(bundles) if other is bundle})
            for bundle in {id(bundle): bundle for bundle in bundles}.values()
        ]
        answers = iter(self._decoder.run([work for batch in batches for work in batch.works()]))
        verdicts: dict[int, Verdict] = {}
        for batch in batches:
            verdicts |= batch.finished([next(answers) for _ in batch.requests])
        return [verdicts[place] for place in range(len(items))]

    def _batch(self, bundle: Bundle, items: Mapping[int, Item]) -> "_Batch":
        bundle.require(self._backbone.fingerprint)
        reader = RiskReader(self._backbone, bundle.to(self._backbone.model.device), self._options)
        return _Batch(reader, Finisher(self._decoder, reader.bundle, self._options), items)


class _Batch:
    """The items of one bundle, by place, on their way from prompt to verdict."""

    def __init__(self, reader: RiskReader, finisher: Finisher, items: Mapping[int, Item]) -> None:
        self._reader = reader
        self._finisher = finisher
        self._items = items
        self._verdicts: dict[int, Verdict] = {}
        self.requests: dict[int, Request] = {}
        for place, item in items.items():
            request = request_of(item, reader.encode(item), reader.options, reader.backbone.context_tokens)
            if isinstance(request, BadItem):
                self._verdicts[place] = broken(item, request)
            else:
                self.requests[place] = request

    def works(self) -> list[Work]:
        """In the order of `requests`; rows that need no decoding of their own prompt are turned away."""
        bundle = self._reader.bundle
        look = bundle.second_look if self._reader.options.second_look else None
        return [Work(request, bundle, self._gate(place), look) for place, request in self.requests.items()]

    def _gate(self, place: int) -> Gate:
        def decide(risk: float) -> bool | None:
            verdict = self._reader.decide(self._items[place], self.requests[place].prompt, risk)
            self._verdicts[place] = verdict
            decodes = not verdict.gate_open or self._finisher.responder.action is GateAction.STEER
            return verdict.gate_open if decodes and verdict.flaw is None else None

        return decide

    def finished(self, answers: Sequence[Answer | None]) -> dict[int, Verdict]:
        """Final verdicts by place; `answers` are those of `works`."""
        given = dict(zip(self.requests, answers, strict=True))
        for place, answer in given.items():
            if answer is not None and answer.flaw is not None:  # perhaps before its gate could be decided
                self._verdicts.setdefault(place, missing(self._items[place]))
        refused = [place for place, answer in given.items() if answer is None and self._verdicts[place].flaw is None]
        texts = self._finisher.responder.respond([self.requests[place] for place in refused], [True] * len(refused))
        given |= dict(zip(refused, texts, strict=True))
        whole = {place: answer for place, answer in given.items() if answer is not None}
        rows = self._finisher.finish(
            [self.requests[place] for place in whole],
            list(whole.values()),
            [self._verdicts[place] for place in whole],
        )
        return self._verdicts | dict(zip(whole, rows, strict=True))
