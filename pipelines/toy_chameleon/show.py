"""The whole method on the toy Chameleon: train, calibrate, answer the test items, count."""

import hashlib
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.calibration import CalibrationOptions, CalibrationSet, Say, calibrate
from autosteer_core.engine import EngineOptions
from autosteer_core.static_engine import StaticEngine
from autosteer_core.text_control import text_only_accuracy
from autosteer_core.values import Item
from pipelines.load_model import load_model
from pipelines.settings import Settings
from pipelines.toy_chameleon.items import Asked, asked
from pipelines.toy_chameleon.model_folder import toy_model_folder
from pipelines.toy_chameleon.results import Line, results, results_table

PAIRS_PER_OPENER = 10
MAX_NEW_TOKENS = 32


def show_toy_chameleon(console: Console, cache: Path | None = None) -> dict[str, Any]:
    """Everything measured, as plain values; the table goes to the console."""
    started = perf_counter()
    with console.status("training the toy model") as status:
        folder = toy_model_folder(cache, status.update)
        trained = perf_counter()
        backbone = load_model(str(folder), Settings())
        calibration, tried = asked("calibration", PAIRS_PER_OPENER), asked("test", PAIRS_PER_OPENER)
        bundle = calibrated(backbone, [item for item, _ in calibration], status.update)
        status.update("answering the test items")
        lines = measured(backbone, bundle, tried)
    control = text_only_accuracy([item for item, _ in calibration], [item for item, _ in tried])
    console.print(results_table(lines))
    told = ", ".join(f"{group} {rate}" for group, (rate, _) in control.items())
    console.print(f"control, right by the words alone: {told}", highlight=False)
    return {
        "model": str(folder),
        "seconds": {"model": round(trained - started, 1), "all": round(perf_counter() - started, 1)},
        "layers": list(bundle.layers),
        "poolings": [site.pooling.value for site in bundle.sites],
        "gate_action": bundle.gate_action,
        "probe": bundle.report["probe"],
        "text_only_control": {group: str(rate) for group, (rate, _) in control.items()},
        "results": [line.as_json() for line in lines],
    }


def calibrated(backbone: Backbone, items: list[Item], say: Say) -> Bundle:
    """The project's own calibration with its own defaults."""
    content = hashlib.sha256(repr(items).encode()).hexdigest()
    return calibrate(
        backbone, CalibrationSet(items, content), CalibrationOptions(max_new_tokens=MAX_NEW_TOKENS), say
    ).bundle


def measured(backbone: Backbone, bundle: Bundle, tried: Asked) -> list[Line]:
    """Every item answered unsteered, always steered and gated by the reference engine."""
    engine = StaticEngine(backbone, bundle, EngineOptions(max_new_tokens=MAX_NEW_TOKENS, compare=True))
    verdicts = engine.generate([item for item, _ in tried])
    return results(verdicts, {item.item_id: request.answer for item, request in tried})
