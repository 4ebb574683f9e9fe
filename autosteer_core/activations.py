"""Read the residual stream at chosen layers while the model runs, reduced to one vector a prompt."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.budget import Budget, in_batches
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.prefill import Prefill
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


def read_activations(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    budget: Budget | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Activations of all prompts, float32 on the CPU, shape (N, len(layers), 2, d): last token and mean.

    The last prompt token is AutoSteer's choice (eq. 10); the mean runs over the prompt's own tokens, those after
    the template's opening. Rows of similar length share a batch of at most `budget`; the result is in the order of
    `prompts`. Blocks above the highest layer and the output matrix do not run, and the template's opening runs once
    for all. `progress` hears how many prompts are done.

    Raises:
        UserMistake: the device has no memory for one of the prompts.
    """
    return torch.stack([_whole(row) for row in _read_each(backbone, prompts, layers, budget, progress)])


def _whole(row: Tensor | BadItem) -> Tensor:
    if isinstance(row, BadItem):
        raise UserMistake(str(row))
    return row


@torch.inference_mode()
def _read_each(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    budget: Budget | None,
    progress: Callable[[int], None],
) -> list[Tensor | BadItem]:
    """Each (len(layers), 2, d), or why it could not be read."""
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row].ids))
    read: dict[int, Tensor | BadItem] = {}
    pool = SitePool()
    with truncated(backbone, max(layers)), recorded(backbone.blocks, layers, pool) as activations:
        prefill = Prefill(backbone)

        def run(rows: list[int]) -> Tensor:
            batch = [prompts[row] for row in rows]
            pool.aim(backbone, batch)
            prefill.run(batch)
            return torch.stack([activations[layer].cpu() for layer in layers], dim=1)

        for rows, made_NLPD in in_batches(budget or Budget(), order, lambda row: prompts[row], run):
            read.update(zip(rows, [made_NLPD] if isinstance(made_NLPD, BadItem) else made_NLPD, strict=True))
            progress(len(read))
    return [read[row] for row in range(len(prompts))]


def read_sites(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    budget: Budget | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """What a probe reads: the activations of its sites side by side, (N, len(sites) * d)."""
    return torch.stack([_whole(row) for row in read_each_site(backbone, prompts, sites, budget, progress)])


def read_each_site(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    sites: Sequence[Site],
    budget: Budget | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Tensor | BadItem]:
    """The same row by row, each (len(sites) * d,): a prompt for which there is no memory costs no other row."""
    rows = _read_each(backbone, prompts, [site.layer for site in sites], budget, progress)
    return [row if isinstance(row, BadItem) else _at(row, sites) for row in rows]


def _at(read_LPD: Tensor, sites: Sequence[Site]) -> Tensor:
    return torch.cat([read_LPD[place, site.pooling.place] for place, site in enumerate(sites)])


class SitePool:
    """Last token and mean of each row's own tokens, (N, 2, d)."""

    own_N = torch.ones(1, dtype=torch.int64)

    def aim(self, backbone: Backbone, prompts: Sequence[Prompt]) -> None:
        """Say whose states come next; a prompt's own tokens are those after what it shares with the opening."""
        opening = backbone.opening
        self.own_N = torch.tensor([len(prompt.ids) - _shared(prompt.ids, opening) for prompt in prompts])

    def __call__(self, hidden_NTD: Tensor) -> Tensor:
        own_N = self.own_N.to(hidden_NTD.device)
        # Counted from the end, because rows are padded on the left.
        back_T = torch.arange(hidden_NTD.shape[1], 0, -1, device=hidden_NTD.device)
        foreign_NT = back_T > own_N[:, None]
        # Padding may hold NaN, which no weight of zero would silence.
        own_NTD = hidden_NTD.float().masked_fill(foreign_NT[..., None], 0.0)
        mean_ND = own_NTD.sum(dim=1) / own_N[:, None]
        return torch.stack([last_position(hidden_NTD), mean_ND], dim=1)


def _shared(ids: Sequence[int], opening: Sequence[int]) -> int:
    """How many ids both begin with: all of the opening, but for a prompt with a system message of its own."""
    pairs = enumerate(zip(ids, opening, strict=False))
    return next((place for place, (own, common) in pairs if own != common), min(len(ids), len(opening)))
