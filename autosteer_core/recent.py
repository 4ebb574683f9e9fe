"""A memory bounded by bytes: what was used longest ago goes first."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; together at most `limit_bytes`, as told by whoever puts them in."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._kept: OrderedDict[bytes, tuple[T, int]] = OrderedDict()

    def get(self, key: bytes) -> T | None:
        """The value, now the latest used; None where there is none, or none any more."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: bytes, value: T, size: int) -> None:
        """Keep a value of `size` bytes, unless it alone is beyond the limit; an equal key is replaced."""
        self._used -= self._kept.pop(key, (None, 0))[1]
        if size > self._limit:
            return
        self._kept[key] = (value, size)
        self._used += size
        while self._used > self._limit:
            self._used -= self._kept.popitem(last=False)[1][1]
