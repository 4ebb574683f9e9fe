"""Decoder blocks compiled for steps in slots: one graph a shape, which all blocks of a kind share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from transformers.cache_utils import Cache

from autosteer_core.backbones.base import Backbone
from autosteer_core.errors import UserMistake, first_line

Backend = str | Callable[..., Any]

# Shapes come in powers of two, so even a context of 16,384 tokens needs fewer.
_MOST_GRAPHS = 96


class BlockCache(Cache):
    """One block's share of a cache: what block it is must not become part of the graph."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As the layer does; its number is ignored."""
        keys, values = self.layers[0].update(key_states, value_states)
        return keys, values


class CompiledBlocks:
    """Runs blocks through `torch.compile` inside a `with`; outside it the model is as it was.

    Hooks of the blocks themselves stay outside the graphs and fire as ever. `most_graphs` bounds how often it
    compiles. `backend` is one of `torch.compile`.
    """

    def __init__(self, backbone: Backbone, backend: Backend = "inductor", most_graphs: int = _MOST_GRAPHS) -> None:
        self._blocks = backbone.blocks
        self._family: str = backbone.model.config.model_type
        self._most_graphs = most_graphs
        # Without isolation all engines of a process would count against one limit. PyTorch's stubs lack both.
        limits: dict[str, Any] = {"recompile_limit": most_graphs, "isolate_recompiles": True}
        self._run: Callable[..., Any] = torch.compile(_run, backend=backend, dynamic=False, fullgraph=True, **limits)

    @contextmanager
    def installed(self, cache: Cache) -> Iterator[None]:
        """Steps that use `cache` run compiled.

        Raises:
            UserMistake: a block cannot be compiled, or would need ever more graphs; also where something else has
                taken the place of a block's forward already, as a model spread over devices has it.
        """
        if any("forward" in vars(block) for block in self._blocks):
            raise self._mistake("its blocks' forward is replaced already, as device_map does it")
        try:
            for block, layer in zip(self._blocks, cache.layers, strict=True):
                block.forward = partial(self._forward, block, cache, BlockCache(layers=[layer]))
            yield
        except FailOnRecompileLimitHit as error:
            raise self._mistake(f"it needs more than {self._most_graphs} graphs") from error
        except TorchDynamoException as error:
            raise self._mistake(first_line(error)) from error
        finally:
            for block in self._blocks:
                vars(block).pop("forward", None)

    def _forward(self, block: nn.Module, whole: Cache, own: Cache, *args: Any, **kwargs: Any) -> Any:
        given = {name: own if value is whole else value for name, value in kwargs.items()}
        return self._run(block, args, given)

    def _mistake(self, why: str) -> UserMistake:
        return UserMistake(f"model family {self._family} cannot be compiled: {why}: set compile=false")


def _run(block: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The class's own forward, because the instance's is what calls this."""
    return type(block).forward(block, *args, **kwargs)
