"""Read the residual stream at chosen layers while the model runs, reduced to the last prompt token."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.backbones.base import Backbone, Prompt

Recorded = dict[int, Tensor]


@contextmanager
def recorded(blocks: nn.ModuleList, layers: Sequence[int]) -> Iterator[Recorded]:
    """Keep the last position of every chosen layer of the latest forward pass, float32, shape (N, d).

    Layer l enters block l, so it is the output of block l - 1. Prompts must be padded on the left. If a layer
    cannot be hooked, the hooks already placed are removed first.

    Example:
        >>> with recorded(backbone.blocks, [4, 8]) as activations:
        ...     backbone.body(**backbone.collate(prompts))
        >>> activations[8].shape
    """
    activations: Recorded = {}
    with ExitStack() as hooks:
        for layer in layers:
            if not 1 <= layer <= len(blocks):
                raise IndexError(f"layer {layer} does not exist, expected 1 to {len(blocks)}")
            handle = blocks[layer - 1].register_forward_hook(_recorder(activations, layer))
            hooks.callback(handle.remove)
        yield activations


def _recorder(activations: Recorded, layer: int) -> Any:
    def record(block: nn.Module, args: Any, output: Any) -> None:
        hidden_NTD = output[0] if isinstance(output, tuple) else output
        activations[layer] = hidden_NTD[:, -1].detach().float()

    return record


@contextmanager
def truncated(backbone: Backbone, depth: int) -> Iterator[None]:
    """Run only the first `depth` blocks inside the `with`; the model is whole again after it, even half-way.

    Audit needs nothing above the probe layer, so it pays depth / L of the decoder.
    """
    decoder: Any = next(module for module in backbone.model.modules() if _holds(module, backbone.blocks))
    blocks = backbone.blocks
    decoder.layers = blocks[:depth]
    try:
        yield
    finally:
        decoder.layers = blocks


def _holds(module: nn.Module, blocks: nn.ModuleList) -> bool:
    return getattr(module, "layers", None) is blocks


@torch.inference_mode()
def read_activations(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    batch_rows: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Activations of all prompts at the chosen layers, float32 on the CPU, shape (N, len(layers), d).

    Rows of similar length share a batch; the result is in the order of `prompts`. Blocks above the highest
    layer and the output matrix do not run, and the template's prefix runs once for all. `progress` hears how
    many prompts are done.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row].ids))
    gathered: list[Tensor | None] = [None] * len(prompts)
    with truncated(backbone, max(layers)), recorded(backbone.blocks, layers) as activations:
        prefix = _Prefix(backbone)
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            prefix.run([prompts[row] for row in rows])
            batch_NLD = torch.stack([activations[layer] for layer in layers], dim=1).cpu()
            for row, activation_LD in zip(rows, batch_NLD, strict=True):
                gathered[row] = activation_LD
            progress(start + len(rows))
    return torch.stack([activation for activation in gathered if activation is not None])


class _Prefix:
    """The template's opening, prefilled once; about half of a short prompt's cost."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._ids = backbone.shared_prefix
        ids = torch.tensor([self._ids], device=backbone.model.device)
        self._cache = backbone.body(input_ids=ids, use_cache=True).past_key_values

    def run(self, prompts: Sequence[Prompt]) -> None:
        """Run what follows the prefix, every row at its own positions."""
        count = len(self._ids)
        inputs = dict(self._backbone.collate(prompts, skip=count))
        opened = torch.ones(len(prompts), count, dtype=torch.int64, device=self._backbone.model.device)
        mask_NT = torch.cat([opened, inputs["attention_mask"]], dim=1)
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp_min(0)[:, count:]
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(prompts))
        inputs |= {"attention_mask": mask_NT, "position_ids": positions_NT}
        self._backbone.body(**inputs, past_key_values=cache, use_cache=True)
