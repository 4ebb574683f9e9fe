"""What the queue's owner knows of the parts that each worker holds."""

from autosteer_core.values import Part, PartId, QueueCounts
from infra.memory_queue import MemoryQueue
from tests.doubles import FakeClock
from workers.broker import Broker

PARTS = [Part(PartId(f"p{start}"), "f", start, start + 1) for start in range(4)]


def test_all_parts_of_a_dead_worker_are_given_back_and_no_others() -> None:
    broker = Broker(lambda: MemoryQueue(FakeClock()))
    broker.call("add", PARTS)
    broker.call("claim", "dead", 30.0, 3)
    broker.call("claim", "alive", 30.0)

    broker.forfeit("dead", "died")

    assert broker.call("counts") == QueueCounts(ready=3, leased=1)


def test_a_worker_is_overdue_with_any_part_but_not_with_one_that_it_lost() -> None:
    clock = FakeClock()
    broker = Broker(lambda: MemoryQueue(clock))
    broker.call("add", PARTS)
    first, second = broker.call("claim", "slow", 30.0, 2)
    clock.advance(20)
    broker.call("renew", second, 30.0)
    clock.advance(15)
    assert broker.overdue(clock.now()) == ["slow"]

    (taken,) = broker.call("claim", "fast", 30.0)

    assert taken.part == first.part
    assert broker.overdue(clock.now()) == []
