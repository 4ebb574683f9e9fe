"""The reference engine: a truncated forward pass for the risk, then padded batches of `generate`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem, StopWorker
from autosteer_core.gate_actions import merge, respond
from autosteer_core.probe import gate_is_open
from autosteer_core.values import Action, GateAction, Item, Verdict


class StaticEngine:
    """Plain Transformers behind the Engine port; refuses a bundle of another model."""

    def __init__(self, backbone: Backbone, bundle: Bundle, options: EngineOptions) -> None:
        bundle.require(backbone.fingerprint)
        self._backbone = backbone
        self._bundle = bundle.to(backbone.model.device)
        self._options = options
        self._action = options.gate_action or GateAction(bundle.gate_action)

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Blocks below the probe layer run, nothing is decoded."""
        actions = {Action.ANSWER: Action.ALLOW, Action.REFUSE: Action.FLAG}
        _, verdicts = self._judge(items)
        return [replace(verdict, action=actions.get(verdict.action, verdict.action)) for verdict in verdicts]

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """Rows of similar length are decoded together; the result is in the order of `items`."""
        prompts, verdicts = self._judge(items)
        order = [place for place, verdict in enumerate(verdicts) if verdict.action is not Action.ERROR]
        order.sort(key=lambda place: len(prompts[place].ids))
        for start in range(0, len(order), self._options.batch_rows):
            places = order[start : start + self._options.batch_rows]
            answered = self._answer([prompts[place] for place in places], [verdicts[place] for place in places])
            for place, verdict in zip(places, answered, strict=True):
                verdicts[place] = verdict
        return verdicts

    def _judge(self, items: Sequence[Item]) -> tuple[dict[int, Prompt], list[Verdict]]:
        """Prompts by place, and a verdict without an answer for every item."""
        prompts: dict[int, Prompt] = {}
        broken: dict[int, BadItem] = {}
        for place, item in enumerate(items):
            try:
                prompts[place] = self._encode(item)
            except BadItem as error:
                broken[place] = error
        risks = dict(zip(prompts, self._risks(list(prompts.values())), strict=True))
        verdicts = [
            _broken(item, broken[place]) if place in broken else self._gate(item, *risks[place])
            for place, item in enumerate(items)
        ]
        return prompts, verdicts

    def _encode(self, item: Item) -> Prompt:
        if item.flaw is not None:
            raise BadItem(item.flaw.code, item.flaw.message)
        return self._backbone.encode(item)

    def _risks(self, prompts: Sequence[Prompt]) -> Iterator[tuple[float, bool]]:
        """Risk and whether it is borderline; those are read again alone, so that batch shape cannot decide."""
        for prompt, risk in zip(prompts, self._read(prompts), strict=True):
            borderline = abs(risk - self._bundle.threshold) < self._options.band
            yield self._read([prompt])[0] if borderline else risk, borderline

    def _read(self, prompts: Sequence[Prompt]) -> list[float]:
        if not prompts:
            return []
        layer, rows = self._bundle.layer, self._options.batch_rows
        activations_ND = read_activations(self._backbone, prompts, [layer], rows)[:, 0]
        risks: list[float] = self._bundle.probe.risk(activations_ND.to(self._backbone.model.device)).tolist()
        return risks

    def _gate(self, item: Item, risk: float, borderline: bool) -> Verdict:
        if not math.isfinite(risk):
            return _broken(item, BadItem("E_RISK", "the probe gave no finite risk: calibrate the bundle again"))
        gate_open = bool(gate_is_open(torch.tensor(risk, dtype=torch.float64), self._bundle.threshold))
        return Verdict(
            item_id=item.item_id,
            row=item.row,
            action=Action.REFUSE if gate_open else Action.ANSWER,
            risk=risk,
            gate_open=gate_open,
            gate_evaluations=1 + borderline,
            borderline=borderline,
            annotation=item.annotation,
        )

    def _answer(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[Verdict]:
        gates = [verdict.gate_open is not False for verdict in verdicts]
        answers = self._respond(prompts, gates, self._action)
        answered = [_with(verdict, answer) for verdict, answer in zip(verdicts, answers, strict=True)]
        if self._action is GateAction.STEER:
            _check_steering(answered)
        return self._compare(prompts, answers, answered) if self._options.compare else answered

    def _compare(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """Add the unsteered and always-steered answers.

        A closed gate's answer is the unsteered one by construction (a test proves it), so each row is decoded
        once more, not twice.
        """
        gates = [verdict.gate_open is not False for verdict in verdicts]
        open_prompts = [prompt for prompt, gate in zip(prompts, gates, strict=True) if gate]
        closed_prompts = [prompt for prompt, gate in zip(prompts, gates, strict=True) if not gate]
        closed = [answer for answer, gate in zip(answers, gates, strict=True) if not gate]
        unsteered = merge(gates, self._respond(open_prompts, [False] * len(open_prompts)), closed)
        if self._action is GateAction.STEER:
            steered = [answer for answer, gate in zip(answers, gates, strict=True) if gate]
        else:
            steered = self._respond(open_prompts, [True] * len(open_prompts))
        always = merge(gates, steered, self._respond(closed_prompts, [True] * len(closed_prompts)))
        return [
            replace(verdict, compared={"unsteered": without.text, "always": within.text})
            for verdict, without, within in zip(verdicts, unsteered, always, strict=True)
        ]

    def _respond(
        self, prompts: Sequence[Prompt], gates: Sequence[bool], action: GateAction = GateAction.STEER
    ) -> list[Answer]:
        return respond(self._backbone, self._bundle, action, prompts, gates, self._options.max_new_tokens)


def _broken(item: Item, error: BadItem) -> Verdict:
    return Verdict(item.item_id, item.row, Action.ERROR, math.nan, flaw=error.flaw, annotation=item.annotation)


def _with(verdict: Verdict, answer: Answer) -> Verdict:
    return replace(
        verdict,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        steered_tokens=answer.steered_tokens,
    )


def _check_steering(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.gate_open and verdict.steered_tokens == 0:
            raise StopWorker(f"item {verdict.item_id} had an open gate but no token was steered: nothing is written")
