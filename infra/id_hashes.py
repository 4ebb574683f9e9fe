"""Which of many ids may be equal, in bounded memory: hashes of ids, spilled to the disk where there are many."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from autosteer_core.errors import UserMistake

_HELD = 1 << 20  # hashes in memory before they are written away: 8 MiB
_FILES = 64  # each is read back as a whole: 12 MiB of every 100 million ids


class IdHashes:
    """64 bits an id, in files without a name: whatever happens to the process, nothing is left on the disk."""

    def __init__(self, held: int = _HELD) -> None:
        self._held = held
        self._waiting: list[Any] = []
        self._count = 0
        self._files: list[IO[bytes]] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._closing.close()

    def add(self, ids: Sequence[str]) -> None:
        """Take note of the ids; Python's own hash is keyed anew in every process, so nobody can choose collisions."""
        self._waiting.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        self._count += len(ids)
        if self._count >= self._held:
            self._spill()

    def given_twice(self) -> Iterator[frozenset[int]]:
        """Hashes that came twice, file by file; only an equal id tells whether that was chance."""
        if not self._files:
            yield _twice(self._taken())
            return
        self._spill()
        for file in self._files:
            file.seek(0)
            yield _twice(np.frombuffer(file.read(), np.int64))

    def _temporary(self) -> IO[bytes]:
        # Without a buffer: one that is left over after an error would be written again on closing, and fail again.
        return self._closing.enter_context(tempfile.TemporaryFile(buffering=0))

    def _taken(self) -> Any:
        taken = np.concatenate(self._waiting) if self._waiting else np.empty(0, np.int64)
        self._waiting, self._count = [], 0
        return taken

    def _spill(self) -> None:
        """Equal hashes land in the same file."""
        hashes = self._taken()
        number = hashes % _FILES
        order = np.argsort(number, kind="stable")
        borders = np.searchsorted(number[order], np.arange(1, _FILES))
        try:
            if not self._files:
                self._files = [self._temporary() for _ in range(_FILES)]
            for file, some in zip(self._files, np.split(hashes[order], borders), strict=True):
                _write_all(file, some.tobytes())
        except OSError as error:
            raise UserMistake(
                f"checking the ids needs 8 bytes a row in the folder for temporary files ({error.strerror}): "
                "free some space there, or let TMPDIR name another one"
            ) from error


def _write_all(file: IO[bytes], data: bytes) -> None:
    """A nearly full disk takes a piece first, and refuses only the next one."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _twice(hashes: Any) -> frozenset[int]:
    ordered = np.sort(hashes)
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
