"""What a vision tower makes of a picture is remembered: the same picture beside other words is not seen again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.ragged import bytes_of, cut, joined
from autosteer_core.recent import Recent

# A hundred or two tiles of LLaVA-OneVision's tower in 16 bit: a dozen pictures at the finest tiling, most of a batch.
MEMORY_BYTES = 256 * 2**20

# By these a tower knows how its rows are laid out; with any other tensor beside the pixels it is left alone.
_GRID, _MASK = "grid_thw", "patch_attention_mask"


@dataclass(frozen=True, slots=True)
class _Call:
    """A tower's arguments, cut into rows that do not see each other: tiles, or where there is a grid, pictures."""

    pixels: Sequence[Tensor]
    tensors: Mapping[str, Sequence[Tensor]]
    plain: Mapping[str, Any]

    @property
    def keys(self) -> list[bytes]:
        """SHA-256 of all that a row's features depend on."""
        return [_digest([self.pixels[row], *self._of(row).values()], self.plain) for row in range(len(self.pixels))]

    def run(self, tower: Callable[..., Any], rows: Sequence[int]) -> list[Any]:
        """The features of some rows, each in memory of its own."""
        chosen = {name: torch.cat([pieces[row] for row in rows]) for name, pieces in self.tensors.items()}
        output = tower(torch.cat([self.pixels[row] for row in rows]), **chosen, **self.plain)
        return cut(output, [len(self.pixels[row]) for row in rows])

    def _of(self, row: int) -> dict[str, Tensor]:
        return {name: pieces[row] for name, pieces in self.tensors.items()}


class PictureFeatures:
    """Remembers the features of one frozen tower; where there is none, or none that can be cut, it does nothing."""

    def __init__(self, tower: nn.Module | None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._tower: Any = tower
        self._memory: Recent[Any] = Recent(memory_bytes)
        self._ignored = False

    @contextmanager
    def reused(self) -> Iterator[None]:
        """Inside, equal rows run through the tower once; after it, the tower is as it was, even half-way."""
        if self._tower is None or self._ignored:
            yield
            return
        own = vars(self._tower).get("forward")  # set by libraries that move weights between devices
        plain = self._tower.forward
        self._tower.forward = lambda *args, **kwargs: self._features(plain, *args, **kwargs)
        try:
            yield
        finally:
            if own is None:
                del self._tower.forward
            else:
                self._tower.forward = own

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Inside, nothing is reused: features that were computed beside others differ from it in rounding."""
        before, self._ignored = self._ignored, True
        try:
            yield
        finally:
            self._ignored = before

    def _features(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = _call(*args, **kwargs)
        if call is None:
            return plain(*args, **kwargs)
        keys = call.keys
        known = {key: self._memory.get(key) for key in keys}
        missing = {key: row for row, key in enumerate(keys) if known[key] is None}
        if missing:
            known |= zip(missing, call.run(plain, list(missing.values())), strict=True)
        for key in missing:
            self._memory.put(key, known[key], bytes_of(known[key]))
        return joined([known[key] for key in keys])


def _call(*args: Any, **kwargs: Any) -> _Call | None:
    """None where the arguments do not say how to cut them."""
    pixels = args[0] if args else kwargs.pop("pixel_values", None)
    tensors = {name: value for name, value in kwargs.items() if isinstance(value, Tensor)}
    if len(args) > 1 or not isinstance(pixels, Tensor) or not tensors.keys() <= {_GRID, _MASK}:
        return None
    counts = tensors[_GRID].prod(dim=-1).tolist() if _GRID in tensors else [1] * len(pixels)
    plain = {name: value for name, value in kwargs.items() if name not in tensors}
    return _Call(pixels.split(counts), {name: value.split(1) for name, value in tensors.items()}, plain)


def _digest(tensors: Sequence[Tensor], plain: Mapping[str, Any]) -> bytes:
    digest = sha256(repr([(tensor.shape, tensor.dtype) for tensor in tensors]).encode())
    digest.update(repr(sorted(plain.items())).encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.digest()
