"""A device with little memory, where there is none: an allocator that refuses every large tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class SmallMemory(TorchDispatchMode):
    """Inside the `with`, an operation whose result has more than `limit` bytes fails as it would on a full GPU."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.refused = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        held = {store.data_ptr() for store in _stores((args, kwargs))}  # a view is no new memory
        made = func(*args, **kwargs or {})
        if any(store.nbytes() > self.limit and store.data_ptr() not in held for store in _stores(made)):
            self.refused += 1
            raise torch.OutOfMemoryError(f"a tensor of more than {self.limit} bytes")
        return made


def _stores(values: Any) -> list[Any]:
    return [each.untyped_storage() for each in tree_leaves(values) if isinstance(each, Tensor)]
