"""One model a process, kept for the next run that wants the same: loading one costs more than many a run."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget
from pipelines.settings import Settings

_DECIDES = (
    "model", "device", "dtype", "quantization", "device_map", "max_prompt_tokens", "attn_implementation", "cache",
    "batch_tokens", "batch_pixels",
)  # fmt: skip
_CPU_TOKENS, _GPU_TOKENS = 1024, 8192


@dataclass(slots=True)
class KeptModel:
    """`budget` remembers where memory ran out; `proven` says of which steps, compiled ones or not, rows in
    slots were seen to equal plain `generate`.
    """

    backbone: Backbone
    budget: Budget
    proven: set[bool] = field(default_factory=set)


_kept: dict[tuple[object, ...], KeptModel] = {}


def kept_model(settings: Settings, load: Callable[[Settings], Backbone]) -> KeptModel:
    """The model that the settings name; another one goes before this one comes."""
    key = tuple(getattr(settings, name) for name in _DECIDES)
    if key not in _kept:
        _kept.clear()
        _kept[key] = KeptModel(load(settings), budget_of(settings))
    return _kept[key]


def forget_model() -> None:
    """Make room for a model of another kind."""
    _kept.clear()
    gc.collect()  # hooks of a model that is spread over devices refer to it in circles


def on_cpu(settings: Settings) -> bool:
    """Whether the model computes on the host."""
    return settings.device.startswith("cpu") and settings.device_map is None


def budget_of(settings: Settings) -> Budget:
    """What one forward pass may hold; a CPU is fastest while a pass stays near its caches."""
    default = _CPU_TOKENS if on_cpu(settings) else _GPU_TOKENS
    return Budget(settings.batch_tokens or default, settings.batch_pixels)
