"""What an open gate does to its row: steer it, force a refusal's opening, or answer with a fixed text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.request import Request
from autosteer_core.values import GateAction

_OPENING_WORDS = 4  # enough to commit the model, short enough to let it go on by itself

T = TypeVar("T")


class Decoder(Protocol):
    """Decodes under gates that are already decided."""

    @property
    def backbone(self) -> Backbone:
        """The model that answers."""
        ...

    def decode(
        self, bundle: Bundle, requests: Sequence[Request], gates: Sequence[bool], *, look: bool
    ) -> list[Answer]:
        """One answer per request, in order; open rows are steered, with `look` closed ones are read as they grow."""
        ...


@dataclass(frozen=True, slots=True)
class Responder:
    """Answers under one bundle and gate action; `second_look` also reads what it decodes, where the bundle can."""

    decoder: Decoder
    bundle: Bundle
    action: GateAction
    second_look: bool = False

    def respond(self, requests: Sequence[Request], gates: Sequence[bool]) -> list[Answer]:
        """One answer per request, in order; closed gates always get the model's own answer."""
        if self.action is GateAction.STEER:
            return self._decode(requests, gates)
        refuse = self._canned if self.action is GateAction.CANNED else self._opened
        refused = refuse(_where(requests, gates, True))
        answered = self._decode(_where(requests, gates, False), [False] * list(gates).count(False))
        return merge(gates, refused, answered)

    def _canned(self, requests: Sequence[Request]) -> list[Answer]:
        wordings = [self.bundle.refusal_for(request.group) for request in requests]
        return [Answer(wording, tuple(self._ids(wording)), "canned") for wording in wordings]

    def _opened(self, requests: Sequence[Request]) -> list[Answer]:
        wordings = [self.bundle.refusal_for(request.group) for request in requests]
        openings = [" ".join(wording.split()[:_OPENING_WORDS]) for wording in wordings]
        opened = [
            replace(request, prompt=request.prompt.extended(self._ids(opening)))
            for request, opening in zip(requests, openings, strict=True)
        ]
        return [
            replace(answer, text=f"{opening} {answer.text}".strip(), ids=(*self._ids(opening), *answer.ids))
            for answer, opening in zip(self._decode(opened, [True] * len(opened)), openings, strict=True)
        ]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.decoder.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, requests: Sequence[Request], gates: Sequence[bool]) -> list[Answer]:
        return self.decoder.decode(self.bundle, requests, gates, look=self.second_look) if requests else []


def merge(gates: Sequence[bool], if_open: Sequence[Answer], if_closed: Sequence[Answer]) -> list[Answer]:
    """Put answers of open and closed rows back into the order of `gates`."""
    opened, closed = iter(if_open), iter(if_closed)
    return [next(opened) if gate else next(closed) for gate in gates]


def _where(values: Sequence[T], gates: Sequence[bool], wanted: bool) -> list[T]:
    return [value for value, gate in zip(values, gates, strict=True) if gate is wanted]
