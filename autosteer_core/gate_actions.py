"""What an open gate does to its row: steer it, force a refusal's opening, or answer with a fixed text."""

from dataclasses import dataclass, replace

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.errors import StopWorker
from autosteer_core.request import Request
from autosteer_core.second_look import SecondLook
from autosteer_core.values import GateAction
from autosteer_core.work import Course, Work

_OPENING_WORDS = 4  # enough to commit the model, short enough to let it go on by itself


@dataclass(frozen=True, slots=True)
class Refuser:
    """Answers of rows whose gate is open, by one gate action and under one bundle."""

    backbone: Backbone
    bundle: Bundle
    action: GateAction

    def refuse(self, request: Request) -> Course[Answer]:
        """What the action makes of the request."""
        wording = self.bundle.refusal_for(request.group)
        if self.action is GateAction.CANNED:
            return Answer(wording, tuple(self._ids(wording)), "canned")
        if self.action is GateAction.STEER:
            return (yield from decoded(request, self.bundle, gate=True))
        return (yield from self._opened(request, " ".join(wording.split()[:_OPENING_WORDS])))

    def _opened(self, request: Request, opening: str) -> Course[Answer]:
        """The opening counts as a part of the answer, as long as that may be; it has no stop strings."""
        ids = self._ids(opening)
        left = max(1, request.max_new_tokens - len(ids))
        begun = replace(request, prompt=request.prompt.extended(ids), max_new_tokens=left)
        answer = yield from decoded(begun, self.bundle, gate=True)
        return replace(answer, text=f"{opening} {answer.text}".strip(), ids=(*ids, *answer.ids))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def decoded(
    request: Request, bundle: Bundle, *, gate: bool, look: SecondLook | None = None, alone: bool = False
) -> Course[Answer]:
    """The answer under a gate that is already decided.

    Raises:
        StopWorker: none came, although nothing could turn the row away.
    """
    answer = yield Work(request, bundle, gate, look, alone)
    if answer is None:
        raise StopWorker("a row with a decided gate was not decoded: nothing is written")
    return answer
