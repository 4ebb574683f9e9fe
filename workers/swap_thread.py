"""The thread of a driver that watches what is promoted, and the calls by which it reaches workers on Ray."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import ray
from ray.exceptions import RayError

from autosteer_core.errors import AutosteerError, BundleRefused, first_line
from autosteer_core.serving import BundleSource
from workers.swapping import Away, Swapper, Workers

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.3
# A worker that has just been started answers when its process is there; the others shall not wait for it.
_ANSWER_SECONDS = 1.0


@contextmanager
def swapping(source: BundleSource, actors: Callable[[], Workers]) -> Iterator[None]:
    """Inside, the actors are given what is promoted, about `_LOOK_SECONDS` after it is; the caller's work goes on."""
    swapper, ended = Swapper(source, actors, _ask, ray.put), Event()
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


def _ask(workers: Workers, method: str, argument: object) -> dict[str, object]:
    """As Swapper asks: all at once, none longer than `_ANSWER_SECONDS`."""
    calls = {name: getattr(worker, method).remote(argument) for name, worker in workers.items()}
    if calls:
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=_ANSWER_SECONDS)
    return {name: _answer(call) for name, call in calls.items()}


def _answer(call: object) -> object:
    try:
        return ray.get(call, timeout=0)
    except BundleRefused as error:
        return getattr(error, "cause", error)  # as it was raised: Ray's own text is a traceback
    except (AutosteerError, RayError) as error:
        return Away(first_line(error))
