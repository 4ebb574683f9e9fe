"""Labelled items to a bundle: choose the layer, fit probe and head, set the threshold, measure it held out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.evaluation import Rate
from autosteer_core.gate_actions import respond
from autosteer_core.guarantee import Guarantee, choose_threshold
from autosteer_core.head_fitting import REFUSALS, HeadOptions, fit_head
from autosteer_core.judges import is_refusal
from autosteer_core.labelled import Labelled, Split, labelled, split
from autosteer_core.layer_choice import (
    FALSE_POSITIVE_RATE,
    choose_layer,
    linear_probe,
    recall_at,
)
from autosteer_core.probe import Probe
from autosteer_core.probe_fitting import ProbeOptions, expected_calibration_error, fit_probe
from autosteer_core.values import GateAction, Item

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """`alpha` and `delta` state the guarantee; each gate action answers `tried_rows` held-out rows."""

    alpha: float = 0.1
    delta: float = 0.05
    seed: int = 0
    batch_rows: int = 16
    max_new_tokens: int = 24
    head_rows: int = 96
    tried_rows: int = 32
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    head: HeadOptions = field(default_factory=HeadOptions)


def calibrate(
    backbone: Backbone, items: Sequence[Item], manifest_hash: str, options: CalibrationOptions, say: Say
) -> Bundle:
    """Fit everything on one part of the items and measure on another; twins and sources are never divided.

    Raises:
        UserMistake: unlabelled items, one label only, or too few harmful ones for the bound.
        BadItem: an item that cannot be shown to the model.
    """
    prompts = [backbone.encode(item) for item in items]
    layers = list(range(1, len(backbone.blocks) + 1))

    def show(done: int) -> None:
        say(f"reading items at {len(layers)} layers: {done} of {len(prompts)}")

    data = labelled(items, read_activations(backbone, prompts, layers, options.batch_rows, show))
    rows = split(data, options.seed)
    say("choosing the layer")
    chosen = choose_layer(data.take(np.concatenate([rows.train, rows.validation])), layers, options.seed)
    say(f"layer {chosen.layer}: fitting probe and threshold")
    probe, guarantee, measured = _probe(data, rows, chosen.layer - 1, options)
    say("fitting the Refusal Head")
    head = fit_head(backbone, *_head_prompts(prompts, data, rows, options), options.seed, options.head)
    report = {
        "calibration_set": {"sha256": manifest_hash, "items": len(items), **_sizes(rows)},
        "layer_choice": asdict(chosen),
        "probe": measured,
    }
    bundle = Bundle(
        backbone.fingerprint, chosen.layer, probe, head, guarantee, REFUSALS[0], GateAction.STEER.value, report
    )  # fmt: skip
    say("trying the gate actions")
    return _with_best_action(backbone, bundle, prompts, data, rows, options)


def _sizes(rows: Split) -> dict[str, int]:
    return {"train": len(rows.train), "validation": len(rows.validation), "threshold": len(rows.threshold)}


def _probe(
    data: Labelled, rows: Split, index: int, options: CalibrationOptions
) -> tuple[Probe, Guarantee, dict[str, Any]]:
    features_ND, labels_N = data.activations_NLD[:, index], torch.from_numpy(data.harmful_N)
    train, validation = ((features_ND[part], labels_N[part]) for part in (rows.train, rows.validation))
    probe = fit_probe(train, validation, options.seed, options.probe)
    risk = probe.risk(features_ND[rows.threshold]).double().numpy()
    harmful = data.harmful_N[rows.threshold]
    guarantee = choose_threshold(risk[harmful], risk[~harmful], options.alpha, options.delta)
    control = linear_probe().fit(features_ND[rows.train].numpy(), data.harmful_N[rows.train])
    measured = {
        "mlp": _quality(risk, harmful),
        "linear_control": _quality(control.predict_proba(features_ND[rows.threshold].numpy())[:, 1], harmful),
        "by_group": _by_group(data.take(rows.threshold), risk, guarantee.threshold),
    }
    return probe, guarantee, measured


def _quality(risk: NDArray[np.float64], harmful: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "auroc": float(roc_auc_score(harmful, risk)),
        "recall_at_1pct_false_positives": recall_at(risk[harmful], risk[~harmful], FALSE_POSITIVE_RATE),
        "expected_calibration_error": expected_calibration_error(risk, harmful),
    }


def _by_group(data: Labelled, risk: NDArray[np.float64], threshold: float) -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for group in np.unique(data.group_N):
        here = data.group_N == group
        missed, wrong = (
            here & data.harmful_N & (risk < threshold),
            here & ~data.harmful_N & (risk >= threshold),
        )
        table[str(group)] = {
            "missed": str(Rate(int(missed.sum()), int((here & data.harmful_N).sum()))),
            "false refusals": str(Rate(int(wrong.sum()), int((here & ~data.harmful_N).sum()))),
        }
    return table


def _head_prompts(
    prompts: Sequence[Prompt], data: Labelled, rows: Split, options: CalibrationOptions
) -> tuple[list[Prompt], list[Prompt]]:
    """Harmful and benign training prompts, at most `head_rows` of each, spread evenly over the set."""
    chosen = []
    for wanted in (True, False):
        candidates = rows.train[data.harmful_N[rows.train] == wanted]
        spread = np.linspace(0, len(candidates) - 1, min(options.head_rows, len(candidates))).astype(int)
        chosen.append([prompts[row] for row in candidates[spread]])
    return chosen[0], chosen[1]


def _with_best_action(
    backbone: Backbone,
    bundle: Bundle,
    prompts: Sequence[Prompt],
    data: Labelled,
    rows: Split,
    options: CalibrationOptions,
) -> Bundle:
    """Measure the three actions on held-out harmful rows; `steer` stays unless another is clearly better.

    Clearly: the other's interval lies wholly above. A canned text refuses always, so it would win every tie.
    """

    harmful = rows.threshold[data.harmful_N[rows.threshold]]
    tried = [prompts[row] for row in harmful[: options.tried_rows]]
    rates = {
        action: Rate(
            sum(
                is_refusal(answer.text)
                for start in range(0, len(tried), options.batch_rows)
                for answer in _refused(backbone, bundle, action, tried[start : start + options.batch_rows], options)
            ),
            len(tried),
        )
        for action in GateAction
    }
    best = max(rates, key=lambda action: rates[action].value)
    clearly = rates[best].interval[0] > rates[GateAction.STEER].interval[1]
    report = bundle.report | {"gate_actions": {action.value: str(rate) for action, rate in rates.items()}}
    return replace(bundle, gate_action=(best if clearly else GateAction.STEER).value, report=report)


def _refused(
    backbone: Backbone,
    bundle: Bundle,
    action: GateAction,
    prompts: Sequence[Prompt],
    options: CalibrationOptions,
) -> list[Any]:
    return respond(backbone, bundle, action, prompts, [True] * len(prompts), options.max_new_tokens)
