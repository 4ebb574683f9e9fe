"""A worker dies before or after each of its calls: the others finish, every row is visible once.

The points are not written down here: the real loop is traced on a real queue and store, and each call that it makes
is two of them.
"""

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autosteer_core.commit import commit_part, split_part
from autosteer_core.values import Action, Cause, Verdict
from tests.chaos.herd import Seen, read_as_a_stranger
from tests.chaos.worker_process import Site, encode

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

DEATH = 137
_FORK = multiprocessing.get_context("fork")


@dataclass
class Calls:
    """Every call of the queue and the store in turn; the process may die before or after one of them."""

    dies_at: int = -1
    after: bool = False
    names: list[str] = field(default_factory=list)

    def port(self, kind: str, port: Any) -> Any:
        return _Port(self, kind, port)

    def made(self, name: str, call: Callable[[], Any]) -> Any:
        self.names.append(name)
        here = len(self.names) - 1 == self.dies_at
        if here and not self.after:
            os._exit(DEATH)
        try:
            return call()
        finally:
            if here:
                os._exit(DEATH)


class _Port:
    def __init__(self, calls: Calls, kind: str, port: Any) -> None:
        self._calls, self._kind, self._port = calls, kind, port

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._calls.made(f"{self._kind}.{method}", lambda: getattr(self._port, method)(*args, **kwargs))

        return call


def fresh(site: Site) -> None:
    """A part that nobody had before."""


def crashed(site: Site) -> None:
    """A part whose worker died: a later attempt, which halves it."""
    site.queue().claim("dead", site.lease_seconds)


def row_alone(site: Site) -> None:
    """A part of one row whose worker died: a later attempt, which does it again."""
    crashed(site)


def failed(site: Site) -> None:
    """A part that came back for another reason: a later attempt, which does it again."""
    queue = site.queue()
    (lease,) = queue.claim("unlucky", site.lease_seconds)
    queue.release(lease, "its store was away", Cause.FAILURE)


def committed(site: Site) -> None:
    """A part whose worker died between its commit and the queue."""
    (lease,) = site.queue().claim("dead", site.lease_seconds)
    part = lease.part
    rows = [Verdict(str(row), row, Action.ANSWER, 0.0, "") for row in range(part.start, part.stop)]
    commit_part(site.store, lease, rows, encode(rows, lease))


def halved(site: Site) -> None:
    """A part whose worker died between its halving and the queue."""
    (lease,) = site.queue().claim("dead", site.lease_seconds)
    split_part(site.store, lease, "its worker died")


SCENES: dict[str, tuple[Callable[[Site], None], int]] = {
    "first attempt": (fresh, 2),
    "later attempt after a failure": (failed, 2),
    "later attempt after a crash": (crashed, 2),
    "later attempt of one row after a crash": (row_alone, 1),
    "later attempt of a part that is committed": (committed, 2),
    "later attempt of a part that is halved": (halved, 2),
}


def staged(folder: Path, scene: str) -> Site:
    """One part in the scene; its lease, if any, has ended for processes that run `later`."""
    prepare, rows = SCENES[scene]
    folder.mkdir(parents=True)
    site = Site(folder, rows, rows)
    site.queue().add(site.parts())
    prepare(site)
    return site


def run_one(site: Site, calls: Calls, name: str, later: float) -> None:
    """A worker's whole life, with every call counted."""
    queue = calls.port("queue", site.queue(later))
    site.worker(name, queue, calls.port("store", site.store)).run(lambda: False)


def points(scene: str, folder: Path) -> list[str]:
    """The calls that the real loop makes in this scene, in order."""
    site, calls = staged(folder / "traced", scene), Calls()
    run_one(site, calls, "traced", later=site.lease_seconds + 1)
    assert read_as_a_stranger(site) == Seen(0, 0, 0)
    return calls.names


def died(site: Site, calls: Calls) -> bool:
    """Whether a process of its own ran into the point."""
    process = _FORK.Process(target=run_one, args=(site, calls, "dies", site.lease_seconds + 1))
    process.start()
    process.join(60)
    return process.exitcode == DEATH


@pytest.mark.parametrize("scene", SCENES)
def test_a_worker_that_dies_at_any_call_loses_and_doubles_nothing(
    tmp_path: Path, scene: str, report: Callable[[str, object], None]
) -> None:
    names = points(scene, tmp_path)
    assert names[0] == "queue.claim" and "queue.complete" in names

    for number, name in enumerate(names):
        for after in (False, True):
            where = f"{'after' if after else 'before'} {number} {name}"
            site = staged(tmp_path / where, scene)
            assert died(site, Calls(number, after)), where

            run_one(site, Calls(), "survivor", later=2 * site.lease_seconds + 2)

            assert read_as_a_stranger(site) == Seen(0, 0, 0), where
    report(f"crash points, {scene}", f"{2 * len(names)}, around {', '.join(dict.fromkeys(names))}")
