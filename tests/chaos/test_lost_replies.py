"""Replies get lost, servers are busy, bytes are spoiled: every writer knows whether its own write stands."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pytest

from autosteer_core.errors import TryAgain
from infra.s3_store import S3Store, s3_client
from tests.chaos.scale import scaled
from tests.fault_proxy import Fault, Faults, serve_faults
from tests.faults.test_s3_faults import bucket_of, client

LOST = (Fault.LOSE_REPLY, Fault.RESET_AFTER)
AT_FULL_SIZE = [pytest.mark.chaos, pytest.mark.timeout(900)]
FEW_AND_MANY = [30, pytest.param(scaled(1_000), marks=AT_FULL_SIZE)]


class TakesRefusalsAtTheirWord(S3Store):
    """A control: it does not look whose object is in its way."""

    def _is_ours(self, place: dict[str, str], attempt: str) -> bool:
        return False


class PutsPlainly(S3Store):
    """A control: it writes without a condition."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


Open = Callable[..., S3Store]
T = TypeVar("T")


@pytest.fixture
def behind(s3_endpoint: str, s3_address: str) -> Callable[[Faults], Any]:
    """Stores of one bucket behind a proxy with these faults; they do not pause between tries."""

    @contextmanager
    def stores(faults: Faults) -> Iterator[Open]:
        with serve_faults(s3_endpoint, faults) as url:
            yield lambda kind=S3Store: kind(client(url), bucket_of(s3_address), "run", lambda seconds: None)

    return stores


def lose_replies(store: S3Store, faults: Faults, count: int) -> Counter[str]:
    """Two writers a key, the reply to the first PUT of each is lost: what they believe, and what is true."""
    found: Counter[str] = Counter()
    for number in range(count):
        key, first, second = f"commits/{number}", b"first %d" % number, b"second %d" % number
        faults.coming = [LOST[number % 2]]
        found["false conflicts"] += store.put_if_absent(key, first) is not True
        faults.coming = [LOST[number % 2]]
        found["false successes"] += store.put_if_absent(key, second) is not False
        found["overwrites"] += store.get(key) != first
    found["lost replies"] = sum(faults.done[fault] for fault in LOST)
    return found


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_lost_replies_make_no_false_conflict_and_overwrite_nothing(
    behind: Callable[[Faults], Any], count: int, record_property: Callable[[str, object], None]
) -> None:
    faults = Faults()
    with behind(faults) as open_store:
        found = lose_replies(open_store(), faults, count)
    print(f"\nlost replies: {dict(found)}")
    record_property("lost replies", dict(found))
    assert found == {"lost replies": 2 * count, "false conflicts": 0, "false successes": 0, "overwrites": 0}


def test_a_store_that_takes_refusals_at_their_word_reports_false_conflicts(
    behind: Callable[[Faults], Any],
) -> None:
    faults = Faults()
    with behind(faults) as open_store:
        assert lose_replies(open_store(TakesRefusalsAtTheirWord), faults, 5)["false conflicts"] == 5


def test_a_plain_put_overwrites(behind: Callable[[Faults], Any]) -> None:
    faults = Faults()
    with behind(faults) as open_store:
        found = lose_replies(open_store(PutsPlainly), faults, 5)
    assert found["overwrites"] == found["false successes"] == 5


@pytest.mark.parametrize("odds", [0.1, 0.5])
@pytest.mark.parametrize("count", [20, pytest.param(scaled(500), marks=AT_FULL_SIZE)])
def test_everything_arrives_at_a_server_that_is_often_busy(
    behind: Callable[[Faults], Any], odds: float, count: int
) -> None:
    faults = Faults(methods={"PUT", "GET"}, odds={Fault.BUSY: odds}, seed=5)
    bodies = {f"parts/{number}": b"%d" % number for number in range(count)}
    with behind(faults) as open_store:
        store = open_store()
        assert all(until_answered(partial(store.put_if_absent, key, body)) for key, body in bodies.items())
        assert {key: until_answered(partial(store.get, key)) for key in bodies} == bodies
    print(
        f"\n{odds:.0%} busy: {count} blobs written and read, {faults.requests} requests, {faults.done.total()} faults"
    )
    assert faults.done[Fault.BUSY] > count * odds / 2


def until_answered(act: Callable[[], T]) -> T:
    """As a worker does that is patient with its store."""
    while True:
        try:
            return act()
        except TryAgain:
            continue


@pytest.mark.parametrize("keys", [4, pytest.param(100, marks=AT_FULL_SIZE)])
def test_of_writers_that_race_through_faults_exactly_one_wins_and_all_know_who(
    behind: Callable[[Faults], Any], keys: int
) -> None:
    faults = Faults(seed=11)
    bodies = [b"writer %d" % number for number in range(6)]
    with behind(faults) as open_store, ThreadPoolExecutor(len(bodies)) as pool:
        stores = [open_store() for _ in bodies]
        for number in range(keys):
            # Four in all: no writer can meet so many that its five tries are used up.
            faults.coming = [Fault.LOSE_REPLY, Fault.BUSY, Fault.RESET_AFTER, Fault.RESET_BEFORE]
            key = f"commits/{number}"
            writes = [pool.submit(store.put_if_absent, key, body) for store, body in zip(stores, bodies, strict=True)]
            won = [write.result() for write in writes]
            assert won.count(True) == 1
            assert stores[0].get(key) == bodies[won.index(True)]
    print(f"\n{keys} races of {len(bodies)} writers: one winner each, {faults.done.total()} faults")
    assert faults.done.total() == 4 * keys


@pytest.mark.parametrize("fault", [Fault.SHORT_BODY, Fault.SPOIL_REPLY])
@pytest.mark.parametrize("count", [20, pytest.param(scaled(1_000), marks=AT_FULL_SIZE)])
def test_no_body_that_is_short_or_spoiled_is_accepted(
    behind: Callable[[Faults], Any], fault: Fault, count: int
) -> None:
    body = bytes(range(256))
    faults = Faults(methods={"GET"}, seed=3)
    with behind(faults) as open_store:
        store = open_store()
        store.put("parts/1", body)
        for _ in range(count):
            faults.coming = [fault]
            assert store.get("parts/1") == body
    print(f"\n{fault}: {faults.done[fault]} replies, 0 accepted")
    assert faults.done[fault] == count and faults.requests == 2 * count


@pytest.mark.parametrize("count", [20, pytest.param(scaled(1_000), marks=AT_FULL_SIZE)])
def test_no_upload_that_is_spoiled_on_the_way_is_accepted(behind: Callable[[Faults], Any], count: int) -> None:
    faults = Faults(seed=4)
    with behind(faults) as open_store:
        store = open_store()
        for number in range(count):
            faults.coming = [Fault.SPOIL_REQUEST]
            assert store.put_if_absent(f"parts/{number}", bytes(range(256))) is True
            assert store.get(f"parts/{number}") == bytes(range(256))
    print(f"\nspoiled uploads: {faults.done[Fault.SPOIL_REQUEST]}, 0 accepted")
    assert faults.done[Fault.SPOIL_REQUEST] == count and faults.requests == 2 * count


def test_a_server_that_hangs_is_given_up_after_the_time_limit(s3_endpoint: str, s3_address: str) -> None:
    faults = Faults(coming=[Fault.HANG])
    with serve_faults(s3_endpoint, faults) as url:
        store = S3Store(client(url, read_seconds=2.0), bucket_of(s3_address), "run", lambda seconds: None)
        assert store.put_if_absent("parts/1", b"bytes") is True
    assert faults.done[Fault.HANG] == 1 and faults.requests >= 2


def test_every_request_of_a_store_has_a_time_limit(s3_address: str) -> None:
    config = s3_client().meta.config
    assert 0 < config.connect_timeout <= 10 and 0 < config.read_timeout <= 60
