"""The course of one item under one bundle, from prompt to verdict: what is decoded for it, and why."""

from dataclasses import dataclass, replace

from autosteer_core.backbones.base import Prompt
from autosteer_core.decoding import Answer
from autosteer_core.errors import BadItem
from autosteer_core.gate_actions import Refuser, decoded
from autosteer_core.probe import Measured
from autosteer_core.request import Request, request_of
from autosteer_core.risk_reading import RiskReader
from autosteer_core.second_look import SecondLook
from autosteer_core.values import GateAction, Item, Verdict
from autosteer_core.verdict_stages import answered, broken, check_looks, check_steering, looked_at, missing
from autosteer_core.work import Course, Work


def course(reader: RiskReader, item: Item, prompt: Prompt | BadItem) -> Course[Verdict]:
    """Whatever decodes its work, the verdict is the same."""
    request = request_of(item, prompt, reader.options, reader.backbone.context_tokens)
    if isinstance(request, BadItem):
        return reader.named(broken(item, request))
    return reader.named((yield from _Asked(reader, item, request).verdict()))


@dataclass(frozen=True, slots=True)
class _Asked:
    reader: RiskReader
    item: Item
    request: Request

    def verdict(self) -> Course[Verdict]:
        gated, first = yield from self._gated()
        if gated.flaw is not None:
            return gated
        if first is None:
            first = yield from self._refuser.refuse(self.request)
        verdict = answered(gated, first)
        if self._look is not None and not verdict.gate_open:
            verdict = yield from self._looked_at(self._look, verdict, first)
        if self._refuser.action is not GateAction.CANNED:
            check_steering(verdict)
        compares = self.reader.options.compare and verdict.flaw is None
        return (yield from self._compared(verdict, first)) if compares else verdict

    def _gated(self) -> Course[tuple[Verdict, Answer | None]]:
        """The gate's decision; no answer where the row is not decoded from its own prompt."""
        decided: list[Verdict] = []

        def gate(measured: Measured) -> bool | None:
            verdict = self.reader.decide(self.item, self.request.prompt, measured)
            decided.append(verdict)
            decodes = not verdict.gate_open or self._refuser.action is GateAction.STEER
            return verdict.gate_open if decodes and verdict.flaw is None else None

        answer = yield Work(self.request, self.reader.bundle, gate, self._look)
        # Memory may not suffice to read a row, so that its gate is never asked.
        return decided[-1] if decided else missing(self.item), answer

    def _looked_at(self, look: SecondLook, verdict: Verdict, answer: Answer) -> Course[Verdict]:
        """What the growing answer of a closed row says; near the threshold it is decoded and read again alone.

        What was read is what is published: a row that is decoded again takes its new answer too.
        """
        check_looks(verdict, answer, look.every)
        borderline = any(abs(risk - look.threshold) < self.reader.options.band for risk in answer.risks)
        readings = len(answer.risks)
        if borderline:
            answer = yield from decoded(self.request, self.reader.bundle, gate=False, look=look, alone=True)
            check_looks(verdict, answer, look.every)
            readings += len(answer.risks)
        seen = looked_at(verdict, readings, look.opens_after(answer.risks), borderline=borderline)
        if seen.opened_after is not None:
            # Withdrawn: nobody has seen that answer, because a row is written when it is finished.
            answer = yield from self._refuser.refuse(self.request)
        return answered(seen, answer)

    def _compared(self, verdict: Verdict, first: Answer) -> Course[Verdict]:
        """With the unsteered and the always-steered answer; `first` is the one before any was withdrawn.

        A closed gate's answer is the unsteered one by construction (a test proves it).
        """
        steers = self._refuser.action is GateAction.STEER
        told = {"always": verdict.answer if steers and verdict.gate_open else None}
        told["unsteered"] = first.text if verdict.opened_after is not None else None
        if not verdict.gate_open:
            told["unsteered"] = verdict.answer
        for name, gate in (("unsteered", False), ("always", True)):
            if told[name] is None:
                answer = yield from decoded(self.request, self.reader.bundle, gate=gate)
                if answer.flaw is not None:
                    return answered(verdict, answer)
                told[name] = answer.text
        return replace(verdict, compared={name: text or "" for name, text in told.items()})

    @property
    def _look(self) -> SecondLook | None:
        return self.reader.bundle.second_look if self.reader.options.second_look else None

    @property
    def _refuser(self) -> Refuser:
        action = self.reader.options.gate_action or GateAction(self.reader.bundle.gate_action)
        return Refuser(self.reader.backbone, self.reader.bundle, action)
