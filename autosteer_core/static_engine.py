"""The reference engine: a truncated forward pass for the risk, then padded batches of `generate`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from autosteer_core.activations import read_sites
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.gate_actions import Responder, merge
from autosteer_core.second_look import SecondLook
from autosteer_core.values import Action, GateAction, Item, Verdict
from autosteer_core.verdict_stages import answered, broken, check_looks, check_steering, gated, looked_at


class StaticEngine:
    """Plain Transformers behind the Engine port; refuses a bundle of another model."""

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions) -> None:
        bundle.require(backbone.fingerprint)
        self._backbone = backbone
        self._bundle = bundle.to(backbone.model.device)
        self._options = options
        action = options.gate_action or GateAction(bundle.gate_action)
        longest = options.max_new_tokens
        self._responder = Responder(backbone, self._bundle, action, longest, options.second_look)
        self._plain = Responder(backbone, self._bundle, GateAction.STEER, longest)

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        actions = {Action.ANSWER: Action.ALLOW, Action.REFUSE: Action.FLAG}
        _, verdicts = self._judge(items)
        return [replace(verdict, action=actions.get(verdict.action, verdict.action)) for verdict in verdicts]

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """Rows of similar length are decoded together; the result is in the order of `items`."""
        prompts, verdicts = self._judge(items)
        order = [place for place, verdict in enumerate(verdicts) if verdict.flaw is None]
        order.sort(key=lambda place: len(prompts[place].ids))
        for start in range(0, len(order), self._options.batch_rows):
            places = order[start : start + self._options.batch_rows]
            rows = self._answer([prompts[place] for place in places], [verdicts[place] for place in places])
            for place, verdict in zip(places, rows, strict=True):
                verdicts[place] = verdict
        return verdicts

    def _judge(self, items: Sequence[Item]) -> tuple[dict[int, Prompt], list[Verdict]]:
        """Prompts by place, and a verdict without an answer for every item."""
        prompts: dict[int, Prompt] = {}
        errors: dict[int, BadItem] = {}
        for place, item in enumerate(items):
            try:
                prompts[place] = self._encode(item)
            except BadItem as error:
                errors[place] = error
        thresholds = {place: self._bundle.threshold(items[place].modality) for place in prompts}
        risks = dict(zip(prompts, self._risks(list(prompts.values()), list(thresholds.values())), strict=True))
        verdicts = [
            broken(item, errors[place])
            if place in errors
            else gated(item, risks[place][0], thresholds[place], borderline=risks[place][1])
            for place, item in enumerate(items)
        ]
        return prompts, verdicts

    def _encode(self, item: Item) -> Prompt:
        if item.flaw is not None:
            raise BadItem(item.flaw.code, item.flaw.message)
        return self._backbone.encode(item)

    def _risks(self, prompts: Sequence[Prompt], thresholds: Sequence[float]) -> Iterator[tuple[float, bool]]:
        """Risk and whether it is borderline; those are read again alone, so that batch shape cannot decide."""
        for prompt, threshold, risk in zip(prompts, thresholds, self._read(prompts), strict=True):
            borderline = abs(risk - threshold) < self._options.band
            yield self._read([prompt])[0] if borderline else risk, borderline

    def _read(self, prompts: Sequence[Prompt]) -> list[float]:
        if not prompts:
            return []
        activations_ND = read_sites(self._backbone, prompts, self._bundle.sites, self._options.batch_rows)
        risks: list[float] = self._bundle.probe.risk(activations_ND.to(self._backbone.model.device)).tolist()
        return risks

    def _answer(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[Verdict]:
        gates = [verdict.gate_open is not False for verdict in verdicts]
        answers = self._responder.respond(prompts, gates, _groups(verdicts))
        decided = [answered(verdict, answer) for verdict, answer in zip(verdicts, answers, strict=True)]
        final = self._withdraw(prompts, self._look_again(prompts, answers, decided))
        if self._responder.action is GateAction.STEER:
            check_steering(final)
        return self._compare(prompts, answers, final) if self._options.compare else final

    def _look_again(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """What the growing answers of closed rows say; near the threshold they are decoded and read again alone."""
        look = self._bundle.second_look
        if look is None or not self._options.second_look:
            return list(verdicts)
        return [
            verdict if verdict.gate_open else self._seen(look, prompt, answer, verdict)
            for prompt, answer, verdict in zip(prompts, answers, verdicts, strict=True)
        ]

    def _seen(self, look: SecondLook, prompt: Prompt, answer: Answer, verdict: Verdict) -> Verdict:
        """What was read is what is published: a row that is decoded again takes its new answer too."""
        check_looks(verdict, answer, look.every)
        borderline = any(abs(risk - look.threshold) < self._options.band for risk in answer.risks)
        readings = len(answer.risks)
        if borderline:
            answer = self._responder.respond([prompt], [False])[0]
            check_looks(verdict, answer, look.every)
            readings += len(answer.risks)
        seen = looked_at(verdict, readings, look.opens_after(answer.risks), borderline=borderline)
        return answered(seen, answer) if seen.opened_after is None else seen

    def _withdraw(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Answer once more, with an open gate, the rows whose unfinished answer the second look stopped.

        Nobody has seen that answer: a row is written when it is finished.
        """
        late = [place for place, verdict in enumerate(verdicts) if verdict.opened_after is not None]
        again = self._responder.respond(
            [prompts[place] for place in late], [True] * len(late), _groups([verdicts[place] for place in late])
        )
        final = list(verdicts)
        for place, answer in zip(late, again, strict=True):
            final[place] = answered(verdicts[place], answer)
        return final

    def _compare(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """Add the unsteered and always-steered answers; `answers` are those before any was withdrawn.

        A closed gate's answer is the unsteered one by construction (a test proves it), so each row is decoded
        once more, not twice.
        """
        gates = [verdict.gate_open is True and verdict.opened_after is None for verdict in verdicts]
        open_prompts = [prompt for prompt, gate in zip(prompts, gates, strict=True) if gate]
        closed_prompts = [prompt for prompt, gate in zip(prompts, gates, strict=True) if not gate]
        closed = [answer for answer, gate in zip(answers, gates, strict=True) if not gate]
        unsteered = merge(gates, self._plain.respond(open_prompts, [False] * len(open_prompts)), closed)
        if self._responder.action is GateAction.STEER:
            steered = [answer for answer, gate in zip(answers, gates, strict=True) if gate]
        else:
            steered = self._plain.respond(open_prompts, [True] * len(open_prompts))
        always = merge(gates, steered, self._plain.respond(closed_prompts, [True] * len(closed_prompts)))
        return [
            replace(verdict, compared={"unsteered": without.text, "always": within.text})
            for verdict, without, within in zip(verdicts, unsteered, always, strict=True)
        ]


def _groups(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.annotation.group_name for verdict in verdicts]
