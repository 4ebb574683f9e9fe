"""The reference engine: a truncated forward pass for the risk, then padded batches of `generate`."""

from collections.abc import Sequence

from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget
from autosteer_core.bundle import Bundle
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.finishing import Finisher
from autosteer_core.request import Request, request_of
from autosteer_core.risk_reading import RiskReader
from autosteer_core.static_decoder import StaticDecoder
from autosteer_core.values import Item, Verdict


class StaticEngine:
    """Plain Transformers behind the Engine port; refuses a bundle of another model, and sampling."""

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions) -> None:
        bundle.require(backbone.fingerprint)
        if options.sampling is not None:
            raise UserMistake("the static engine decodes greedily only: use the slot engine to sample")
        placed = bundle.to(backbone.model.device)
        self._options = options
        self._reader = RiskReader(backbone, placed, options)
        self._finisher = Finisher(StaticDecoder(backbone, Budget.of_pixels(options.budget.pixels)), placed, options)

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        return self._reader.audit(items)

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """Rows of similar length are decoded together; the result is in the order of `items`."""
        context = self._reader.backbone.context_tokens
        requests = [request_of(item, self._reader.encode(item), self._options, context) for item in items]
        verdicts = self._reader.judge(
            items, [each if isinstance(each, BadItem) else each.prompt for each in requests]
        )
        asked = [
            (place, request)
            for place, request in enumerate(requests)
            if not isinstance(request, BadItem) and verdicts[place].flaw is None
        ]
        asked.sort(key=lambda each: len(each[1].prompt.ids))
        for start in range(0, len(asked), self._options.batch_rows):
            self._options.pulse()
            batch = asked[start : start + self._options.batch_rows]
            rows = self._answer([request for _, request in batch], [verdicts[place] for place, _ in batch])
            for (place, _), verdict in zip(batch, rows, strict=True):
                verdicts[place] = verdict
        return verdicts

    def _answer(self, requests: Sequence[Request], verdicts: Sequence[Verdict]) -> list[Verdict]:
        gates = [verdict.gate_open is not False for verdict in verdicts]
        return self._finisher.finish(requests, self._finisher.responder.respond(requests, gates), verdicts)
