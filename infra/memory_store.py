"""A blob store in a dictionary: the reference that the durable stores must agree with."""

import time
from collections.abc import Iterator
from threading import Lock

from infra.blob_key import checked_key, checked_prefix


class MemoryStore:
    """Forgets everything when the process ends."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._written: dict[str, float] = {}
        self._lock = Lock()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._lock:
            if checked_key(key) in self._blobs:
                return False
            self._blobs[key] = data
            self._written[key] = time.monotonic()
            return True

    def put(self, key: str, data: bytes) -> None:
        self._blobs[checked_key(key)] = data
        self._written[key] = time.monotonic()

    def get(self, key: str) -> bytes:
        return self._blobs[checked_key(key)]

    def first_bytes(self, key: str, most: int) -> bytes:
        return self.get(key)[:most]

    def keys(self, prefix: str = "") -> Iterator[str]:
        checked_prefix(prefix)
        yield from sorted(key for key in self._blobs if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self._blobs.pop(checked_key(key), None)
        self._written.pop(key, None)

    def age(self, key: str) -> float:
        return time.monotonic() - self._written[checked_key(key)]

    def sweep(self, older_than: float) -> int:
        return 0  # a write ends at once

    def describe(self) -> str:
        return "memory"
