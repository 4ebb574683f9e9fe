"""How much one forward pass may hold, in tokens and pixels; where memory runs out, it is halved and work goes on."""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from autosteer_core.backbones.base import Prompt
from autosteer_core.errors import BadItem

_CHANNELS = 3
_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Load:
    """What a batch of prompts costs: rows of `longest` tokens, `pictures` tensor rows of `largest` numbers."""

    rows: int = 0
    longest: int = 0
    pictures: int = 0
    largest: int = 0

    @property
    def tokens(self) -> int:
        """Padding included."""
        return self.rows * self.longest

    @property
    def pixels(self) -> int:
        """As the vision tower sees them: padding and tiles included."""
        return self.pictures * self.largest // _CHANNELS

    def plus(self, prompt: Prompt) -> "Load":
        """The batch with one more row."""
        shown = prompt.pictures.get("pixel_values")
        count, size = (0, 0) if shown is None else (len(shown), shown[0].numel())
        return Load(self.rows + 1, max(self.longest, len(prompt.ids)), self.pictures + count, max(self.largest, size))

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.tokens} tokens and {self.pixels} pixels"


@dataclass(slots=True, eq=False)
class Budget:
    """Most tokens (padding included) and pixels of a batch; shared by all who use one device, and never grows.

    A prompt that is larger by itself has a batch of its own.
    """

    tokens: int = 1024
    pixels: int = 4_194_304

    @classmethod
    def of_pixels(cls, pixels: int) -> "Budget":
        """As many tokens as memory holds: for rows that are decoded together, where fewer rows mean more passes."""
        return cls(sys.maxsize, pixels)

    def take(self, waiting: deque[T], prompt_of: Callable[[T], Prompt], most: int | None = None) -> list[T]:
        """The next batch, in order: at least one row, at most `most`."""
        batch, load = [waiting.popleft()], Load()
        load = load.plus(prompt_of(batch[0]))
        while waiting and len(batch) != most and self._holds(load := load.plus(prompt_of(waiting[0]))):
            batch.append(waiting.popleft())
        return batch

    def shrink(self, batch: Sequence[Prompt]) -> None:
        """Memory did not suffice for this batch: halve what it had more of, measured against what was allowed."""
        load = load_of(batch)
        # One of both is enough to cut every such batch, and the other kind of batch keeps its size.
        if load.pixels * self.tokens > load.tokens * self.pixels:
            self.pixels = min(self.pixels, load.pixels // 2)
            limit = f"{self.pixels} pixels in a batch: lower batch_pixels"
        else:
            self.tokens = min(self.tokens, load.tokens // 2)
            limit = f"{self.tokens} tokens in a batch: lower batch_tokens and batch_rows"
        _log.warning(
            "out of memory at a batch of %s; going on with at most %s, or make room by device_map or quantization",
            load,
            limit,
        )

    def _holds(self, load: Load) -> bool:
        return load.tokens <= self.tokens and load.pixels <= self.pixels


def load_of(prompts: Sequence[Prompt]) -> Load:
    """What they cost as one batch."""
    load = Load()
    for prompt in prompts:
        load = load.plus(prompt)
    return load


def in_batches(
    budget: Budget, rows: Sequence[T], prompt_of: Callable[[T], Prompt], work: Callable[[list[T]], R]
) -> Iterator[tuple[list[T], R | BadItem]]:
    """Every batch with what `work` made of it, in the order of `rows`; a row too large by itself with its BadItem.

    `work` runs once more for rows of a batch for which memory did not suffice, so it must leave nothing behind.
    """
    waiting = deque(rows)
    while waiting:
        batch = budget.take(waiting, prompt_of)
        made = fitting(partial(work, batch))
        if made:
            yield batch, made[0]
        elif len(batch) == 1:
            yield batch, too_large(prompt_of(batch[0]))
        else:
            budget.shrink([prompt_of(row) for row in batch])
            waiting.extendleft(reversed(batch))


def fitting(work: Callable[[], R]) -> list[R]:
    """What `work` returns, alone in a list, which is empty where the device's memory did not suffice for it."""
    try:
        return [work()]
    except torch.OutOfMemoryError:
        pass
    # Only here, because the exception's frames hold the tensors that filled the memory.
    torch.cuda.empty_cache()
    return []


def too_large(prompt: Prompt) -> BadItem:
    """A row for which memory does not suffice even alone."""
    load = load_of([prompt])
    return BadItem(
        "E_OUT_OF_MEMORY",
        f"the device has no memory for this item even alone ({load.tokens} prompt tokens, {load.pixels} pixels): "
        "shorten it, lower max_new_tokens, or use device_map or quantization",
    )
