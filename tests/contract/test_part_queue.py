"""What every part queue promises, whatever it is made of."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from autosteer_core.errors import LeaseLost, UserMistake
from autosteer_core.ports import PartQueue
from autosteer_core.values import Cause, Lease, Part, PartId, QueueCounts
from infra.memory_queue import MemoryQueue
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from tests.doubles import FakeClock

MAX_FAILURES = 3


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def queue(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[PartQueue]:
    """Each queue we ship: add an adapter here and it inherits the whole suite."""
    made: PartQueue = MemoryQueue(clock, MAX_FAILURES)
    if request.param == "sqlite":
        made = SqliteQueue(tmp_path / "queue.db", clock, MAX_FAILURES)
    elif request.param == "postgres":
        address = request.getfixturevalue("postgres_address")
        made = PostgresQueue(address, f"run {uuid4().hex}", clock, MAX_FAILURES)
    yield made
    made.close()


def part(number: int, stop: int = 10) -> Part:
    return Part(PartId(f"part-{number}"), "manifest.parquet", 0, stop)


def claim_one(queue: PartQueue, worker: str = "ann") -> Lease:
    (lease,) = queue.claim(worker, seconds=30)
    return lease


def test_a_claimed_part_comes_back_as_it_was_added(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    assert queue.claim("ann", seconds=30) == [Lease(part(1), 1, "ann", clock.now() + 30)]


def test_an_empty_queue_gives_nothing(queue: PartQueue) -> None:
    assert queue.claim("ann", seconds=30) == []
    assert queue.counts() == QueueCounts()


def test_adding_a_part_again_changes_nothing(queue: PartQueue) -> None:
    assert queue.add([part(1), part(2), part(1)]) == 2
    queue.complete(claim_one(queue))
    assert queue.add([part(1), part(2), part(3)]) == 1
    assert queue.counts() == QueueCounts(ready=2, done=1)


def test_an_id_that_already_stands_for_other_rows_is_refused_and_nothing_is_added(queue: PartQueue) -> None:
    queue.add([part(1)])
    with pytest.raises(UserMistake, match=r"part-1 is already queued for rows 0-10 .* given for rows 0-99"):
        queue.add([part(2), part(1, stop=99)])
    assert queue.counts() == QueueCounts(ready=1)


def test_parts_are_claimed_oldest_first_in_groups(queue: PartQueue) -> None:
    queue.add([part(number) for number in (5, 3, 9, 1)])
    first = queue.claim("ann", seconds=30, limit=3)
    second = queue.claim("bob", seconds=30, limit=3)
    assert [lease.part for lease in first] == [part(5), part(3), part(9)]
    assert [lease.part for lease in second] == [part(1)]


def test_a_leased_part_is_not_given_out_twice(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    claim_one(queue)
    clock.advance(29.9)
    assert queue.claim("bob", seconds=30) == []


def test_a_part_whose_lease_expired_goes_to_the_next_worker_before_younger_parts(
    queue: PartQueue, clock: FakeClock
) -> None:
    queue.add([part(1), part(2)])
    claim_one(queue)
    clock.advance(30)
    assert claim_one(queue, "bob").part == part(1)


def test_a_worker_that_slept_past_its_lease_cannot_touch_the_part(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    slow = claim_one(queue, "ann")
    clock.advance(31)
    fast = claim_one(queue, "bob")

    with pytest.raises(LeaseLost, match="lease 1 of part part-1 is void: the part is leased at lease 2"):
        queue.complete(slow)
    assert_void(queue, slow)
    queue.complete(fast)


def test_an_older_lease_is_void_even_for_the_worker_that_holds_the_newer_one(
    queue: PartQueue, clock: FakeClock
) -> None:
    queue.add([part(1)])
    older = claim_one(queue)
    clock.advance(31)
    newer = claim_one(queue)
    assert_void(queue, older)
    queue.complete(newer)


def test_a_late_worker_may_still_finish_if_nobody_took_the_part(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    late = claim_one(queue)
    clock.advance(1_000)
    queue.complete(queue.renew(late, seconds=30))
    assert queue.counts() == QueueCounts(done=1)


@pytest.mark.parametrize("ending", ["complete", "release", "bury", "mark_done"])
def test_a_lease_is_void_once_the_part_is_done_released_or_buried(queue: PartQueue, ending: str) -> None:
    queue.add([part(1)])
    lease = claim_one(queue)
    end(queue, lease, ending)
    assert_void(queue, lease)


def test_a_lease_is_void_for_another_worker_with_the_same_token(queue: PartQueue) -> None:
    queue.add([part(1)])
    lease = claim_one(queue, "ann")
    assert_void(queue, Lease(lease.part, lease.token, "a worker of a lost queue", lease.expires_at))


def test_a_lease_from_another_queue_is_void(queue: PartQueue) -> None:
    with pytest.raises(LeaseLost, match="part-7 is not in this queue"):
        queue.complete(Lease(part(7), 1, "ann", 0.0))


def test_renewing_keeps_others_away_counted_from_now(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    lease = claim_one(queue)
    clock.advance(20)
    renewed = queue.renew(lease, seconds=30)
    clock.advance(29)
    assert renewed.expires_at == clock.now() + 1
    assert queue.claim("bob", seconds=30) == []


def test_the_token_grows_with_every_claim_whatever_happened_between(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    queue.release(claim_one(queue), "disk full", Cause.FAILURE)
    queue.release(claim_one(queue), "shutting down", Cause.SHUTDOWN)
    claim_one(queue)
    clock.advance(31)
    assert claim_one(queue).token == 4
    assert queue.claims("part-1") == 4


def test_nobody_has_claimed_a_new_part_and_an_unknown_one_has_no_count(queue: PartQueue) -> None:
    queue.add([part(1)])
    assert queue.claims("part-1") == 0
    with pytest.raises(KeyError):
        queue.claims("part-2")


def test_a_released_part_is_ready_at_its_old_place(queue: PartQueue) -> None:
    queue.add([part(1), part(2)])
    queue.release(claim_one(queue), "shutting down", Cause.SHUTDOWN)
    assert claim_one(queue, "bob").part == part(1)


def test_a_part_that_fails_too_often_is_buried_with_the_last_reason(queue: PartQueue) -> None:
    queue.add([part(1)])
    for attempt in range(MAX_FAILURES):
        queue.release(claim_one(queue), f"failure {attempt}", Cause.FAILURE)
    assert queue.counts() == QueueCounts(buried=1)
    assert queue.buried() == {part(1): "failure 2"}
    assert queue.claim("ann", seconds=30) == []


def test_a_reason_may_quote_anything(queue: PartQueue) -> None:
    queue.add([part(1)])
    queue.bury(claim_one(queue), "row 3 begins with \0\ud800 and 100% {odd} 'quotes'")
    assert "100% {odd} 'quotes'" in queue.buried()[part(1)]


def test_a_shutdown_does_not_count_as_a_failure(queue: PartQueue) -> None:
    queue.add([part(1)])
    for _ in range(MAX_FAILURES - 1):
        queue.release(claim_one(queue), "failed", Cause.FAILURE)
    for _ in range(3 * MAX_FAILURES):
        queue.release(claim_one(queue), "shutting down", Cause.SHUTDOWN)
    assert queue.counts() == QueueCounts(ready=1)


def test_a_buried_part_stays_buried(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    queue.bury(claim_one(queue), "poison row 3")
    clock.advance(1_000)
    assert queue.claim("ann", seconds=30) == []
    assert queue.buried() == {part(1): "poison row 3"}


@pytest.mark.parametrize("ending", ["none", "complete", "release", "bury"])
def test_a_part_whose_commit_exists_is_done_whatever_its_state(queue: PartQueue, ending: str) -> None:
    queue.add([part(1)])
    end(queue, claim_one(queue), ending)
    queue.mark_done(["part-1"])
    assert queue.counts() == QueueCounts(done=1)
    assert queue.claim("ann", seconds=30) == []


def test_marking_an_unknown_part_done_does_nothing(queue: PartQueue) -> None:
    queue.mark_done(["part-404"])
    assert queue.counts() == QueueCounts()


def test_the_counts_add_up_in_every_state(queue: PartQueue) -> None:
    queue.add([part(number) for number in range(5)])
    done, buried, _ = queue.claim("ann", seconds=30, limit=3)
    queue.complete(done)
    queue.bury(buried, "poison")
    counts = queue.counts()
    assert counts == QueueCounts(ready=2, leased=1, done=1, buried=1)
    assert counts.unfinished == 3


def test_a_queue_that_is_forgotten_is_as_new_and_its_leases_are_void(queue: PartQueue) -> None:
    queue.add([part(1), part(2)])
    lease = claim_one(queue)
    queue.forget()  # type: ignore[attr-defined]

    assert queue.counts() == QueueCounts()
    assert_void(queue, lease)
    assert queue.add([part(1)]) == 1


def test_closing_twice_is_harmless(queue: PartQueue) -> None:
    queue.close()
    queue.close()


def end(queue: PartQueue, lease: Lease, ending: str) -> None:
    """Finish a lease in one of the ways there are."""
    endings = {
        "none": lambda: None,
        "complete": lambda: queue.complete(lease),
        "release": lambda: queue.release(lease, "failed", Cause.FAILURE),
        "bury": lambda: queue.bury(lease, "poison"),
        "mark_done": lambda: queue.mark_done([lease.part.part_id]),
    }
    endings[ending]()


def assert_void(queue: PartQueue, lease: Lease) -> None:
    """No write of this lease is accepted, and none of them changes anything."""
    before = queue.counts()
    for write in (
        lambda: queue.renew(lease, 30),
        lambda: queue.complete(lease),
        lambda: queue.release(lease, "late", Cause.FAILURE),
        lambda: queue.release(lease, "late", Cause.SHUTDOWN),
        lambda: queue.bury(lease, "late"),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert queue.counts() == before


def test_an_expired_lease_and_a_reported_death_are_crashes_and_bury_nothing(
    queue: PartQueue, clock: FakeClock
) -> None:
    queue.add([part(1)])
    for crashes in range(2 * MAX_FAILURES):
        lease = claim_one(queue)
        assert lease.crashes == crashes
        if crashes % 2:
            queue.release(lease, "its process died", Cause.CRASH)
        else:
            clock.advance(31)
    assert claim_one(queue).crashes == 2 * MAX_FAILURES


def test_a_failure_and_a_shutdown_are_no_crash(queue: PartQueue) -> None:
    queue.add([part(1)])
    for cause in (Cause.FAILURE, Cause.SHUTDOWN):
        queue.release(claim_one(queue), "given back", cause)
    assert claim_one(queue).crashes == 0


def test_halves_take_a_parts_place_with_nothing_counted(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    claim_one(queue)
    clock.advance(31)
    whole = claim_one(queue, "bob")
    halves = whole.part.halves()

    queue.split(whole, halves)

    assert queue.counts() == QueueCounts(ready=2, split=1)
    assert queue.claim("ann", seconds=30, limit=9) == [Lease(half, 1, "ann", clock.now() + 30) for half in halves]
    assert_void(queue, whole)


def test_halves_that_are_known_stay_as_they_are(queue: PartQueue) -> None:
    queue.add([part(1), *part(1).halves()])
    queue.mark_done([part(1).halves()[0].part_id])
    queue.split(claim_one(queue), part(1).halves())
    assert queue.counts() == QueueCounts(ready=1, done=1, split=1)


def test_a_void_lease_splits_nothing(queue: PartQueue, clock: FakeClock) -> None:
    queue.add([part(1)])
    late = claim_one(queue)
    clock.advance(31)
    claim_one(queue, "bob")
    with pytest.raises(LeaseLost):
        queue.split(late, late.part.halves())
    assert queue.counts() == QueueCounts(leased=1)


def test_parts_set_aside_are_opened_again_with_nothing_counted(queue: PartQueue) -> None:
    queue.add([part(1), part(2), part(3)])
    for number in (1, 2):
        queue.bury(claim_one(queue), f"reason {number}")
    assert queue.buried() == {part(1): "reason 1", part(2): "reason 2"}

    assert queue.reopen(["part-2", "part-3", "part-9"]) == 1
    assert queue.counts() == QueueCounts(ready=2, buried=1)
    assert queue.reopen() == 1
    assert queue.reopen() == 0
    for _ in range(MAX_FAILURES - 1):
        queue.release(claim_one(queue), "failed", Cause.FAILURE)
    assert queue.counts() == QueueCounts(ready=3)
