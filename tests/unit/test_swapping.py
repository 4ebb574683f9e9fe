"""The swapper: offered to all, then switched everywhere, and repeated until every worker has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from autosteer_core.errors import BundleRefused, UserMistake
from autosteer_core.serving import Serving
from autosteer_core.values import BundleId
from workers.swapping import Away, Swapper

ONE, TWO, BAD = BundleId("one"), BundleId("two"), BundleId("bad")


@dataclass
class Registry:
    """Says what it is told to."""

    says: Serving
    reads: list[BundleId] = field(default_factory=list)

    def serving(self) -> Serving:
        return self.says

    def files(self, bundle_id: BundleId) -> Mapping[str, bytes]:
        self.reads.append(bundle_id)
        return {"card.json": bundle_id.encode()}


@dataclass
class Worker:
    """A process that may die, be busy starting, or refuse."""

    ready: bool = True
    refuses: frozenset[BundleId] = frozenset({BAD})
    offered: list[BundleId] = field(default_factory=list)
    served: list[Serving] = field(default_factory=list)
    dies_at: str = ""

    def offer(self, files: Mapping[str, bytes]) -> BundleId:
        self._live("offer")
        bundle_id = BundleId(files["card.json"].decode())
        if bundle_id in self.refuses:
            raise BundleRefused("it is bad: do not serve it")
        self.offered.append(bundle_id)
        return bundle_id

    def serve(self, serving: Serving) -> None:
        self._live("serve")
        assert set(serving.bundles) <= set(self.offered)
        self.served.append(serving)

    def _live(self, step: str) -> None:
        if not self.ready or self.dies_at == step:
            raise Away("not yet")


def ask(workers: Mapping[str, Any], method: str, argument: Any) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for name, worker in workers.items():
        try:
            answers[name] = getattr(worker, method)(argument)
        except (BundleRefused, Away) as error:
            answers[name] = error
    return answers


class Bench:
    def __init__(self, workers: int = 2) -> None:
        self.registry = Registry(Serving(1, ONE))
        self.workers = {f"w{number}": Worker() for number in range(workers)}
        self.swapper = Swapper(self.registry, lambda: self.workers, ask)


def test_all_workers_get_what_is_promoted_and_its_bytes_are_read_once() -> None:
    bench = Bench(workers=5)

    assert bench.swapper.look()
    assert bench.swapper.look()

    assert [worker.served for worker in bench.workers.values()] == [[Serving(1, ONE)]] * 5
    assert bench.registry.reads == [ONE]


def test_a_bundle_that_one_worker_refuses_is_served_by_none_and_is_not_tried_again() -> None:
    bench = Bench()
    bench.swapper.look()
    bench.workers["w1"].refuses = frozenset({TWO})
    bench.registry.says = Serving(2, TWO)

    assert not bench.swapper.look()
    assert not bench.swapper.look()

    assert [worker.served for worker in bench.workers.values()] == [[Serving(1, ONE)]] * 2
    assert bench.workers["w0"].offered == [ONE, TWO]
    bench.registry.says = Serving(3, ONE)
    assert bench.swapper.look()


def test_a_candidate_that_is_refused_does_not_hold_up_the_promotion() -> None:
    bench = Bench()
    bench.registry.says = Serving(2, TWO, BAD, 0.5)

    assert bench.swapper.look()

    assert [worker.served for worker in bench.workers.values()] == [[Serving(2, TWO)]] * 2


@pytest.mark.parametrize("step", ["offer", "serve"])
def test_a_worker_that_dies_on_the_way_holds_up_no_other_and_its_successor_is_served(step: str) -> None:
    bench = Bench()
    bench.swapper.look()
    bench.registry.says = Serving(2, TWO)
    bench.workers["w0"].dies_at = step

    assert not bench.swapper.look()
    assert bench.workers["w1"].served[-1] == Serving(2, TWO)

    bench.workers["w0"] = Worker(ready=False)
    assert not bench.swapper.look()
    bench.workers["w0"].ready = True
    assert bench.swapper.look()
    assert bench.workers["w0"].served == [Serving(2, TWO)]


def test_a_new_process_under_an_old_name_is_asked_like_any_new_one() -> None:
    bench = Bench()
    bench.swapper.look()
    bench.workers["w0"] = Worker()

    assert bench.swapper.look()

    assert bench.workers["w0"].served == [Serving(1, ONE)]
    assert len(bench.workers["w1"].served) == 1


def test_a_swapper_that_died_half_way_is_finished_by_the_next() -> None:
    bench = Bench()
    bench.swapper.look()
    bench.registry.says = Serving(2, TWO)
    bench.workers["w1"].ready = False
    bench.swapper.look()
    bench.workers["w1"].ready = True

    assert Swapper(bench.registry, lambda: bench.workers, ask).look()

    assert {worker.served[-1] for worker in bench.workers.values()} == {Serving(2, TWO)}


def test_a_registry_that_cannot_be_read_leaves_everything_as_it_is() -> None:
    bench = Bench()
    bench.swapper.look()

    class Gone:
        def serving(self) -> Serving:
            return Serving(2, TWO)

        def files(self, bundle_id: BundleId) -> Mapping[str, bytes]:
            raise UserMistake("its bytes are gone: publish it again")

    with pytest.raises(UserMistake):
        Swapper(Gone(), lambda: bench.workers, ask).look()
    assert [worker.served for worker in bench.workers.values()] == [[Serving(1, ONE)]] * 2
