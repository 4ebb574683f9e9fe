"""One model a process, kept for the next run that wants the same: loading one costs more than many a run."""

from collections.abc import Callable
from dataclasses import dataclass

from autosteer_core.backbones.base import Backbone
from pipelines.settings import Settings

_DECIDES = (
    "model", "device", "dtype", "quantization", "device_map", "max_prompt_tokens", "attn_implementation", "cache",
)  # fmt: skip


@dataclass(slots=True)
class KeptModel:
    """`proven` once rows in slots were seen to equal plain `generate` on it."""

    backbone: Backbone
    proven: bool = False


_kept: dict[tuple[object, ...], KeptModel] = {}


def kept_model(settings: Settings, load: Callable[[Settings], Backbone]) -> KeptModel:
    """The model that the settings name; another one goes before this one comes."""
    key = tuple(getattr(settings, name) for name in _DECIDES)
    if key not in _kept:
        _kept.clear()
        _kept[key] = KeptModel(load(settings))
    return _kept[key]


def forget_model() -> None:
    """Make room for a model of another kind."""
    _kept.clear()
