"""The thread of a driver that watches what is promoted, and the calls by which it reaches workers on Ray."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import ray
from ray.exceptions import RayError

from autosteer_core.errors import AutosteerError, BundleRefused, first_line
from autosteer_core.serving import BundleSource
from workers.swapping import Away, Swapper, Workers

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
# A worker that has just been started answers when its process is there; the others shall not wait for it.
_ANSWER_SECONDS = 1.0


@contextmanager
def swapping(source: BundleSource, actors: Callable[[], Workers]) -> Iterator[None]:
    """Inside, the actors are given what is promoted, about `_LOOK_SECONDS` after it is; the caller's work goes on."""
    swapper, ended = Swapper(source, actors, _Calls().ask, ray.put), Event()
    thread = Thread(target=_watch, args=(swapper, ended), name="swapper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(3 * _ANSWER_SECONDS)


def _watch(swapper: Swapper, ended: Event) -> None:
    told = ""
    while not ended.wait(_LOOK_SECONDS):
        try:
            swapper.look()
            told = ""
        except (AutosteerError, OSError, RayError) as error:
            # The bundles that serve go on serving; the same trouble is told once.
            if told != str(error):
                log.warning("what is promoted cannot be followed at the moment: %s", first_line(error))
            told = str(error)


@dataclass(slots=True)
class _Calls:
    """Calls on their way, by worker: one that has not answered yet is not called again."""

    _open: dict[Any, Any] = field(default_factory=dict)

    def ask(self, workers: Workers, method: str, argument: object) -> dict[str, object]:
        """As Swapper asks: all at once, and none is waited for longer than `_ANSWER_SECONDS`."""
        self._open = {worker: call for worker, call in self._open.items() if not _is_done(call)}
        calls = {
            name: getattr(worker, method).remote(argument)
            for name, worker in workers.items()
            if worker not in self._open
        }
        if calls:
            ray.wait(list(calls.values()), num_returns=len(calls), timeout=_ANSWER_SECONDS)
        self._open |= {workers[name]: call for name, call in calls.items() if not _is_done(call)}
        return {name: _answer(calls[name]) if name in calls else Away("no answer yet") for name in workers}


def _is_done(call: object) -> bool:
    done, _ = ray.wait([call], timeout=0)
    return bool(done)


def _answer(call: object) -> object:
    try:
        return True if ray.get(call, timeout=0) else Away("nothing to swap yet")
    except BundleRefused as error:
        return getattr(error, "cause", error)  # as it was raised: Ray's own text is a traceback
    except (AutosteerError, RayError) as error:
        return Away(first_line(error))
