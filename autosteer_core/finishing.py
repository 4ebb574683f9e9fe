"""From first answers to final verdicts: second look, withdrawal, checks, and the answers to compare with."""

from collections.abc import Sequence
from dataclasses import replace

from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.engine import EngineOptions
from autosteer_core.gate_actions import Decoder, Responder, merge
from autosteer_core.request import Request
from autosteer_core.second_look import SecondLook
from autosteer_core.values import GateAction, Verdict
from autosteer_core.verdict_stages import answered, check_looks, check_steering, looked_at


class Finisher:
    """Answers under one bundle, however rows are decoded."""

    def __init__(self, decoder: Decoder, bundle: Bundle, options: EngineOptions) -> None:
        self._options = options
        self._look = bundle.second_look if options.second_look else None
        action = options.gate_action or GateAction(bundle.gate_action)
        self.responder = Responder(decoder, bundle, action, options.second_look)
        self._plain = Responder(decoder, bundle, GateAction.STEER)

    def finish(
        self, requests: Sequence[Request], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """What is written for rows whose first answers are `answers`, given under their verdicts' gates."""
        decided = [answered(verdict, answer) for verdict, answer in zip(verdicts, answers, strict=True)]
        final = self._withdraw(requests, self._look_again(requests, answers, decided))
        if self.responder.action is GateAction.STEER:
            check_steering(final)
        return self._compare(requests, answers, final) if self._options.compare else final

    def _look_again(
        self, requests: Sequence[Request], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """What the growing answers of closed rows say; near the threshold they are decoded and read again alone."""
        look = self._look
        if look is None:
            return list(verdicts)
        return [
            verdict if verdict.gate_open else self._seen(look, request, answer, verdict)
            for request, answer, verdict in zip(requests, answers, verdicts, strict=True)
        ]

    def _seen(self, look: SecondLook, request: Request, answer: Answer, verdict: Verdict) -> Verdict:
        """What was read is what is published: a row that is decoded again takes its new answer too."""
        check_looks(verdict, answer, look.every)
        borderline = any(abs(risk - look.threshold) < self._options.band for risk in answer.risks)
        readings = len(answer.risks)
        if borderline:
            answer = self.responder.respond([request], [False])[0]
            check_looks(verdict, answer, look.every)
            readings += len(answer.risks)
        seen = looked_at(verdict, readings, look.opens_after(answer.risks), borderline=borderline)
        return answered(seen, answer) if seen.opened_after is None else seen

    def _withdraw(self, requests: Sequence[Request], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Answer once more, with an open gate, the rows whose unfinished answer the second look stopped.

        Nobody has seen that answer: a row is written when it is finished.
        """
        late = [place for place, verdict in enumerate(verdicts) if verdict.opened_after is not None]
        again = self.responder.respond([requests[place] for place in late], [True] * len(late))
        final = list(verdicts)
        for place, answer in zip(late, again, strict=True):
            final[place] = answered(verdicts[place], answer)
        return final

    def _compare(
        self, requests: Sequence[Request], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """Add the unsteered and always-steered answers; `answers` are those before any was withdrawn.

        A closed gate's answer is the unsteered one by construction (a test proves it), so each row is decoded
        once more, not twice.
        """
        gates = [verdict.gate_open is True and verdict.opened_after is None for verdict in verdicts]
        opened = [request for request, gate in zip(requests, gates, strict=True) if gate]
        others = [request for request, gate in zip(requests, gates, strict=True) if not gate]
        closed = [answer for answer, gate in zip(answers, gates, strict=True) if not gate]
        unsteered = merge(gates, self._plain.respond(opened, [False] * len(opened)), closed)
        if self.responder.action is GateAction.STEER:
            steered = [answer for answer, gate in zip(answers, gates, strict=True) if gate]
        else:
            steered = self._plain.respond(opened, [True] * len(opened))
        always = merge(gates, steered, self._plain.respond(others, [True] * len(others)))
        return [
            replace(verdict, compared={"unsteered": without.text, "always": within.text})
            for verdict, without, within in zip(verdicts, unsteered, always, strict=True)
        ]
