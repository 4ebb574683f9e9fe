"""Read the residual stream at chosen layers while the model runs, reduced to one vector a prompt."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.values import Site

Recorded = dict[int, Tensor]
Reduce = Callable[[Tensor], Tensor]


def last_position(hidden_NTD: Tensor) -> Tensor:
    """The newest token's state, (N, d); prompts must be padded on the left."""
    return hidden_NTD[:, -1].float()


@contextmanager
def recorded(blocks: nn.ModuleList, layers: Sequence[int], reduce: Reduce = last_position) -> Iterator[Recorded]:
    """Keep every chosen layer of the latest forward pass, float32, as `reduce` makes it of (N, T, d).

    Layer l enters block l, so it is the output of block l - 1. If a layer cannot be hooked, the hooks already
    placed are removed first.

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
            handle = blocks[layer - 1].register_forward_hook(_recorder(activations, layer, reduce))
            hooks.callback(handle.remove)
        yield activations


def _recorder(activations: Recorded, layer: int, reduce: Reduce) -> Any:
    def record(block: nn.Module, args: Any, output: Any) -> None:
        hidden_NTD = output[0] if isinstance(output, tuple) else output
        activations[layer] = reduce(hidden_NTD.detach())

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
    """Activations of all prompts, float32 on the CPU, shape (N, len(layers), 2, d): last token and mean.

    The last prompt token is AutoSteer's choice (eq. 10); the mean runs over the prompt's own tokens, those after
    the template's opening. Rows of similar length share a batch; the result is in the order of `prompts`. Blocks
    above the highest layer and the output matrix do not run, and the template's opening runs once for all.
    `progress` hears how many prompts are done.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row].ids))
    gathered: list[Tensor | None] = [None] * len(prompts)
    pool = _Pool()
    with truncated(backbone, max(layers)), recorded(backbone.blocks, layers, pool) as activations:
        prefill = _Prefill(backbone)
        done = 0
        for rows in _batches(order, [len(prompts[row].ids) for row in order], batch_rows):
            pool.own_N = torch.tensor([len(prompts[row].ids) - len(backbone.opening) for row in rows])
            prefill.run([prompts[row] for row in rows])
            batch_NLPD = torch.stack([activations[layer].cpu() for layer in layers], dim=1)
            for row, activation_LPD in zip(rows, batch_NLPD, strict=True):
                gathered[row] = activation_LPD
            progress(done := done + len(rows))
    return torch.stack([activation for activation in gathered if activation is not None])


def _batches(order: Sequence[int], lengths: Sequence[int], batch_rows: int) -> Iterator[Sequence[int]]:
    """`batch_rows` rows each; short ones up to four times as many, because a pass costs more than their tokens."""
    start = 0
    while start < len(order):
        stop = min(start + batch_rows, len(order))
        while (
            stop < min(start + 4 * batch_rows, len(order)) and (stop + 1 - start) * lengths[stop] <= 64 * batch_rows
        ):
            stop += 1
        yield order[start:stop]
        start = stop


def read_sites(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    batch_rows: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """What a probe reads: the activations of its sites side by side, (N, len(sites) * d)."""
    read_NLPD = read_activations(backbone, prompts, [site.layer for site in sites], batch_rows, progress)
    return torch.cat([read_NLPD[:, place, site.pooling.place] for place, site in enumerate(sites)], dim=1)


class _Pool:
    """Last token and mean of each row's own tokens, (N, 2, d)."""

    own_N = torch.ones(1, dtype=torch.int64)

    def __call__(self, hidden_NTD: Tensor) -> Tensor:
        own_N = self.own_N.to(hidden_NTD.device)
        # Counted from the end, because rows are padded on the left.
        back_T = torch.arange(hidden_NTD.shape[1], 0, -1, device=hidden_NTD.device)
        foreign_NT = back_T > own_N[:, None]
        # Padding may hold NaN, which no weight of zero would silence.
        own_NTD = hidden_NTD.float().masked_fill(foreign_NT[..., None], 0.0)
        mean_ND = own_NTD.sum(dim=1) / own_N[:, None]
        return torch.stack([last_position(hidden_NTD), mean_ND], dim=1)


class _Prefill:
    """Runs prompts; where the family shares a prefix, that part ran once: about half of a short prompt's cost."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._ids = backbone.shared_prefix
        self._cache: Any = self._open() if self._ids else None

    def run(self, prompts: Sequence[Prompt]) -> None:
        """One forward pass for all rows; without a shared prefix the model itself places every token."""
        inputs = dict(self._backbone.collate(prompts, skip=len(self._ids)))
        if self._cache is not None:
            inputs |= self._after_prefix(inputs["attention_mask"])
        self._backbone.body(**inputs, use_cache=self._cache is not None)

    def _open(self) -> Any:
        ids = torch.tensor([self._ids], device=self._backbone.model.device)
        return self._backbone.body(input_ids=ids, use_cache=True).past_key_values

    def _after_prefix(self, mask_NT: Tensor) -> dict[str, Any]:
        """The cache for every row, and every row at its own positions."""
        count = len(self._ids)
        whole_NT = torch.cat([mask_NT.new_ones(len(mask_NT), count), mask_NT], dim=1)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(mask_NT))
        positions_NT = (whole_NT.cumsum(dim=1) - 1).clamp_min(0)[:, count:]
        return {"attention_mask": whole_NT, "position_ids": positions_NT, "past_key_values": cache}
