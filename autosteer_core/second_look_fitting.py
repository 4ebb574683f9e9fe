"""Half-finished answers to a second look: its threshold is set and measured on prompts that fitted nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autosteer_core.answer_activations import read_answers
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.decoding import before_placeholder, decode
from autosteer_core.errors import UserMistake
from autosteer_core.evaluation import Rate
from autosteer_core.judges import is_refusal
from autosteer_core.probe import Probe
from autosteer_core.probe_fitting import Examples, ProbeOptions, fit_probe
from autosteer_core.second_look import SecondLook

MIN_PROMPTS = 10
FOLDS = 5


@dataclass(frozen=True, slots=True)
class LookOptions:
    """Read every `every` tokens of answers up to `max_new_tokens`; `false_alarms` is the largest share of held-out
    benign answers that may be withdrawn."""

    every: int = 8
    max_new_tokens: int = 48
    false_alarms: float = 0.01
    batch_rows: int = 16
    probe: ProbeOptions = field(default_factory=ProbeOptions)


@dataclass(frozen=True, slots=True)
class LookReport:
    """Measured fold by fold on prompts that fitted nothing; the threshold was chosen by these false alarms.

    `recall_after` counts, by tokens seen, the harmful answers stopped by then among those that got so far.
    """

    every: int
    threshold: float
    answers: dict[str, int]
    recall: str
    false_alarms: str
    recall_after: dict[int, str]


@dataclass(frozen=True, slots=True)
class HalfAnswers:
    """Activations at the cuts of each answer to prompts of one label, and which fold each answer belongs to."""

    cuts: Sequence[Tensor]
    fold_N: NDArray[np.int64]

    def of(self, folds: set[int]) -> list[Tensor]:
        """Those of some folds."""
        return [cuts for cuts, fold in zip(self.cuts, self.fold_N.tolist(), strict=True) if fold in folds]


def fit_second_look(
    backbone: Backbone,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    layers: Sequence[int],
    seed: int,
    options: LookOptions | None = None,
) -> tuple[SecondLook, LookReport]:
    """Learn from the model's own answers, cut every few tokens; those that refuse a harmful prompt are left out.

    The threshold is the smallest that keeps the false alarms within bounds; an answer is one alarm however often it
    is read. A share of 1 % takes a hundred answers to see, so every prompt counts: each is read by a probe fitted
    without it, on three other folds and stopped by the fourth. The probe that is kept is fitted on four folds.

    Raises:
        UserMistake: fewer than ten answers of a label are long enough to be read once.
    """
    options = options or LookOptions()
    halves = {
        "harmful": _half_answers(backbone, harmful, layers, seed, options, complying=True),
        "benign": _half_answers(backbone, benign, layers, seed, options, complying=False),
    }
    for label, half in halves.items():
        if len(half.cuts) < MIN_PROMPTS:
            raise UserMistake(
                f"{len(half.cuts)} answers to {label} prompts have {options.every} tokens or more, a second look "
                f"needs {MIN_PROMPTS}: add items, or do without it"
            )
    risks: dict[str, list[list[float]]] = {label: [] for label in halves}
    for fold in range(FOLDS):
        probe = _fitted(halves, fold, (fold + 1) % FOLDS, seed, options.probe)
        for label, half in halves.items():
            risks[label] += [probe.risk(cuts_CD).tolist() for cuts_CD in half.of({fold})]
    kept = _fitted(halves, None, 0, seed, options.probe)
    look = SecondLook(kept, _threshold(risks["benign"], options.false_alarms), options.every)
    return look, measure_second_look(look, risks["harmful"], risks["benign"])


def _fitted(
    halves: Mapping[str, HalfAnswers], left_out: int | None, validation: int, seed: int, options: ProbeOptions
) -> Probe:
    """A probe that has not seen one fold, stopped and calibrated on another."""
    fitting = set(range(FOLDS)) - {left_out, validation}
    return fit_probe(_examples(halves, fitting), _examples(halves, {validation}), seed, options)


def measure_second_look(
    look: SecondLook, harmful: Sequence[Sequence[float]], benign: Sequence[Sequence[float]]
) -> LookReport:
    """Recall and false alarms over answers whose readings are given."""
    caught = [look.opens_after(risks) for risks in harmful]
    alarms = sum(look.opens_after(risks) is not None for risks in benign)
    after = {}
    for cut in range(1, max(map(len, harmful), default=0) + 1):
        reached = [found for found, risks in zip(caught, harmful, strict=True) if len(risks) >= cut]
        stopped = sum(found is not None and found <= cut * look.every for found in reached)
        after[cut * look.every] = str(Rate(stopped, len(reached)))
    return LookReport(
        every=look.every,
        threshold=look.threshold,
        answers={"harmful": len(harmful), "benign": len(benign)},
        recall=str(Rate(sum(found is not None for found in caught), len(caught))),
        false_alarms=str(Rate(alarms, len(benign))),
        recall_after=after,
    )


def _half_answers(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    seed: int,
    options: LookOptions,
    *,
    complying: bool,
) -> HalfAnswers:
    """Answers long enough to be read; of harmful prompts only those that were not refused anyway."""
    answers = [
        answer
        for start in range(0, len(prompts), options.batch_rows)
        for answer in decode(backbone, prompts[start : start + options.batch_rows], options.max_new_tokens)
    ]
    rows = [
        (prompt, ids)
        for prompt, answer in zip(prompts, answers, strict=True)
        # The last of the longest answer's tokens is never fed while decoding.
        if len(ids := before_placeholder(backbone, answer.ids)[: options.max_new_tokens - 1]) >= options.every
        and not (complying and is_refusal(answer.text))
    ]
    cuts = read_answers(
        backbone, [row[0] for row in rows], [row[1] for row in rows], layers, options.every, options.batch_rows
    )
    order = np.random.default_rng(seed).permutation(len(rows))
    return HalfAnswers(cuts, order % FOLDS)


def _examples(halves: Mapping[str, HalfAnswers], folds: set[int]) -> Examples:
    """All cuts of an answer share its fold and its label."""
    harmful, benign = torch.cat(halves["harmful"].of(folds)), torch.cat(halves["benign"].of(folds))
    return Examples.of(torch.cat([harmful, benign]), torch.cat([torch.ones(len(harmful)), torch.zeros(len(benign))]))


def _threshold(benign: Sequence[Sequence[float]], false_alarms: float) -> float:
    """Strictly above the highest reading of the last benign answer that must not be stopped."""
    highest = np.sort([max(risks) for risks in benign])
    return float(np.nextafter(highest[-1 - int(false_alarms * len(highest))], 2.0))
