"""One encoding process, seen from the worker: it answers, or it dies or stands still and is replaced."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from autosteer_core.backbones.base import Prompt
from autosteer_core.encoding import ItemEncoder
from autosteer_core.errors import BadItem, TryAgain
from autosteer_core.values import Item
from workers.decoding_frames import send_frame
from workers.encoding_wire import receive_answer

BuildEncoder = Callable[[], ItemEncoder]

_ATTEMPTS = 2
# All that it needs to find libraries and model files: what strangers' pictures are decoded beside holds no secrets.
_KEPT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE", "VIRTUAL_ENV",
)  # fmt: skip
# No GPU, one thread, and no network: the worker has fetched the model's files already.
_SET = {
    "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds after which a process that is silent counts as dead: while it starts, and over one item."""

    start: float = 300.0
    item: float = 120.0


class EncodingProcess:
    """Starts at once and builds its encoder by itself; the first item waits for that. For one thread at a time."""

    _line: socket.socket
    _process: subprocess.Popen[bytes]
    _ready: bool

    def __init__(self, build: BuildEncoder, patience: Patience) -> None:
        self._build = pickle.dumps(build)
        self._patience = patience
        self._ended = False
        self._lock = Lock()
        self._start()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._process.pid

    def encode(self, item: Item) -> Prompt | BadItem:
        """The item's prompt, or why there is none; E_ENCODER_DIED if a second process dies or stands still over it.

        Raises:
            UserMistake, RuntimeError: what the process itself says has gone wrong.
            TryAgain: a new process does not start.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._ask(item)
            except (EOFError, OSError):
                self._replace()
        return BadItem(
            "E_ENCODER_DIED",
            f"{_ATTEMPTS} processes died or stood still for {self._patience.item:g} s over this item alone: "
            "look at its pictures, shrink them or leave it out",
        )

    def end(self) -> None:
        """Kill it, for good; safe to call twice, from any thread."""
        with self._lock:
            self._ended = True
            self._kill()

    def _ask(self, item: Item) -> Prompt | BadItem:
        self._await_start()
        send_frame(self._line, pickle.dumps(item))
        answer = receive_answer(self._line)
        if answer is None:
            raise RuntimeError("an encoding process answered out of turn")
        return answer

    def _await_start(self) -> None:
        if self._ready:
            return
        try:
            receive_answer(self._line)
        except (EOFError, OSError) as error:
            self._replace()
            raise TryAgain(
                f"an encoding process ended or stood still for {self._patience.start:g} s while it started: "
                "see the worker's log, or set encoding_processes=0"
            ) from error
        self._line.settimeout(self._patience.item)
        self._ready = True

    def _replace(self) -> None:
        with self._lock:
            self._kill()
            if self._ended:
                raise RuntimeError("the encoding processes were ended while an item was being encoded")
            self._start()

    def _start(self) -> None:
        self._ready = False
        self._line, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # A program of its own, not a fork nor multiprocessing's spawn, which would bring the worker's main module and
        # with it Ray. In a process group of its own, because Ctrl-C is the worker's business.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.encoding_child", str(theirs.fileno())],
                env=kept | _SET | {"PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self._line.settimeout(self._patience.start)
        with suppress(OSError):  # dead already: the first item says so
            send_frame(self._line, self._build)

    def _kill(self) -> None:
        with suppress(OSError):
            # Wakes the thread that waits for an answer; closing alone would not.
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        self._process.kill()
        self._process.wait()
