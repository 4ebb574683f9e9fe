"""A verdict as it grows: read, gated, answered, and withdrawn where the second look says so."""

import math
from dataclasses import replace

import torch

from autosteer_core.decoding import Answer
from autosteer_core.errors import BadItem, StopWorker
from autosteer_core.finite_logits import NO_LOGITS
from autosteer_core.probe import gate_is_open
from autosteer_core.values import Action, Flaw, Item, Verdict


def broken(item: Item, error: BadItem) -> Verdict:
    """An item that cannot be shown to the model."""
    return Verdict(item.item_id, item.row, Action.ERROR, math.nan, flaw=error.flaw, annotation=item.annotation)


def missing(item: Item) -> Verdict:
    """An item that was never read; `answered` says why."""
    return Verdict(item.item_id, item.row, Action.ERROR, math.nan, annotation=item.annotation)


def gated(item: Item, risk: float, threshold: float, *, borderline: bool) -> Verdict:
    """The gate's decision; no finite risk, no answer: a person has to look."""
    if not math.isfinite(risk):
        return _unreadable(item, threshold)
    gate_open = bool(gate_is_open(torch.tensor(risk, dtype=torch.float64), threshold))
    return Verdict(
        item_id=item.item_id,
        row=item.row,
        action=Action.REFUSE if gate_open else Action.ANSWER,
        risk=risk,
        threshold=threshold,
        gate_open=gate_open,
        gate_evaluations=1 + borderline,
        borderline=borderline,
        annotation=item.annotation,
    )


def _unreadable(item: Item, threshold: float) -> Verdict:
    flaw = Flaw("E_RISK", "the probe gave no finite risk: look at the item, or calibrate the bundle again")
    return Verdict(
        item.item_id, item.row, Action.REVIEW, math.nan, flaw=flaw, threshold=threshold, gate_evaluations=1,
        annotation=item.annotation,
    )  # fmt: skip


def answered(verdict: Verdict, answer: Answer) -> Verdict:
    """The verdict with what was decoded under its gate; where nothing could be, an error row or one for a person."""
    if answer.flaw is not None:
        action = Action.REVIEW if answer.flaw == NO_LOGITS else Action.ERROR
        return replace(verdict, action=action, answer=None, flaw=answer.flaw, steered_tokens=0)
    return replace(
        verdict,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        steered_tokens=answer.steered_tokens,
        logprobs=answer.logprobs,
    )


def looked_at(verdict: Verdict, readings: int, opened_after: int | None, *, borderline: bool) -> Verdict:
    """The verdict after `readings` second looks; where one of them opened the gate, its answer is to be withdrawn."""
    seen = replace(
        verdict,
        gate_evaluations=verdict.gate_evaluations + readings,
        borderline=verdict.borderline or borderline,
    )
    if opened_after is None:
        return seen
    return replace(seen, action=Action.REFUSE, gate_open=True, opened_after=opened_after, answer=None, logprobs=None)


def check_steering(verdict: Verdict) -> None:
    """Raise StopWorker if a row with an open gate was decoded without the edit."""
    if verdict.flaw is None and verdict.gate_open and verdict.steered_tokens == 0:
        raise StopWorker(f"item {verdict.item_id} had an open gate but no token was steered: nothing is written")


def check_looks(verdict: Verdict, answer: Answer, every: int) -> None:
    """An answer that was not read as often as its length asks for must not be published.

    Raises:
        StopWorker: readings are missing.
    """
    if answer.flaw is not None:
        return
    # The last token of the longest answer is never fed, so never read.
    fed = len(answer.ids) - (answer.finish_reason == "length")
    if len(answer.risks) < fed // every:
        raise StopWorker(
            f"item {verdict.item_id} had {len(answer.risks)} second looks at {fed} tokens, expected {fed // every}: "
            "nothing is written"
        )
