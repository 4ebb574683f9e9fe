"""Manifests come from strangers, so they are read by a process of their own: what kills it kills no worker."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import Any
from weakref import finalize

from autosteer_core.cutting import Stretch
from autosteer_core.errors import AutosteerError, UserMistake
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Item, Part
from workers.reader_wire import receive_json, received_item, send_json

_SECRETS = ("RAY_", "HF_TOKEN", "HUGGING", "AUTOSTEER_")  # what it has no use for
_SILENCE_SECONDS = 600.0  # planning a large manifest far away takes minutes, during which nothing is said
_ATTEMPTS = 2  # when memory is short, the kernel kills whoever is at hand
# One thread and one arena: others would take addresses that are needed for values.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1",
    "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip


class _Gone(Exception):
    """The process has ended, or its line is broken."""


class ReaderProcess:
    """The ManifestReader port over a process, which starts when it is first asked. For one thread at a time.

    `opener` is `module:function` of what opens the manifest there, called with `values`, which travel as JSON. The
    process has what the owner's environment has, because it must reach the store, but nothing of Ray's and no token
    of a hub.
    """

    def __init__(self, opener: str, values: Mapping[str, Any]) -> None:
        self._opener, self._values = opener, dict(values)
        self._running: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        self._busy = False
        self._end = finalize(self, _end, self._running)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, if one does."""
        return next((process.pid for process, _ in self._running), None)

    def close(self) -> None:
        """End the process; the next question starts another."""
        _end(self._running)
        self._busy = False

    def files(self) -> Sequence[tuple[str, int, str]]:
        return [(name, rows, digest) for name, rows, digest in self._asked(ask="files")["files"]]

    def row_ids(self) -> RowIds:
        return RowIds(**self._asked(ask="row_ids"))

    def stretches(self, name: str) -> Iterator[Stretch]:
        for rows, cost in self._asked(ask="stretches", name=name)["stretches"]:
            yield Stretch(rows, cost)

    def items(self, part: Part) -> Iterator[Item]:
        """Goes on in a new process where the old one died; a row that kills two of them refuses the manifest."""
        deaths = 0
        while part.start < part.stop:
            try:
                with closing(self._stream(part)) as stream:
                    for item in stream:
                        yield item
                        part, deaths = replace(part, start=part.start + 1), 0
                return
            except _Gone as gone:
                deaths += 1
                if deaths == _ATTEMPTS:
                    raise self._died(f"row {part.start} of {part.source}", gone) from gone

    def _stream(self, part: Part) -> Generator[Item]:
        line = self._sent({"ask": "items", "part": asdict(part)})
        while "end" not in (said := self._received(line)):
            yield self._whole(line, said)
        self._busy = False

    def _whole(self, line: socket.socket, said: dict[str, Any]) -> Item:
        try:
            return received_item(line, said)
        except (EOFError, OSError) as error:
            raise self._gone() from error

    def _asked(self, **question: Any) -> dict[str, Any]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._received(self._sent(question))
            except _Gone as gone:
                if attempt == _ATTEMPTS:
                    raise self._died("its files", gone) from gone
            else:
                self._busy = False
                return answer
        raise AssertionError("attempts do not end")

    def _sent(self, question: dict[str, Any]) -> socket.socket:
        if self._busy:  # somebody stopped listening in the middle
            self.close()
        line = self._running[0][1] if self._running else self._start()
        self._busy = True
        try:
            send_json(line, question)
        except OSError as error:
            raise self._gone() from error
        return line

    def _received(self, line: socket.socket) -> dict[str, Any]:
        try:
            return receive_json(line)
        except (EOFError, OSError) as error:
            raise self._gone() from error
        except AutosteerError:
            self._busy = False  # that was all of the answer
            raise

    def _start(self) -> socket.socket:
        line, theirs = socket.socketpair()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.reader_child", str(theirs.fileno())],
                env=kept | _ENVIRONMENT | {"PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        line.settimeout(_SILENCE_SECONDS)
        self._running.append((process, line))
        try:
            send_json(line, {"opener": self._opener, "values": self._values})
            receive_json(line)
        except (EOFError, OSError) as error:
            raise self._gone() from error
        except BaseException:
            self.close()
            raise
        return line

    def _gone(self) -> _Gone:
        """With how it ended."""
        code = None
        for process, _ in self._running:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(1)
        self.close()
        return _Gone("it stands still" if code is None else f"exit code {code}")

    def _died(self, where: str, how: _Gone) -> UserMistake:
        address = self._values.get("address")
        return UserMistake(
            f"reading {where} of the manifest {address} killed {_ATTEMPTS} processes ({how}): it is damaged, or made "
            "to do that; get a new copy of it",
            "E_READER_DIED",
        )


def _end(running: list[tuple[subprocess.Popen[bytes], socket.socket]]) -> None:
    while running:
        process, line = running.pop()
        with suppress(OSError):
            line.close()
        process.kill()
        process.wait()
