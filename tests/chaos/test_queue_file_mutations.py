"""The queue's file is damaged or put back to an older state: the run is refused or right, never silently wrong."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosteer_core.commit import read_part, seal
from autosteer_core.errors import UserMistake
from autosteer_core.records import NotConserved, read_records
from infra.memory_store import MemoryStore
from infra.sqlite_queue import SqliteQueue
from tests.chaos.scale import SEED, scaled
from tests.chaos.worker_process import Site, rows_of
from tests.doubles import FakeClock

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SITE = Site(Path(), rows=48, rows_per_part=4, lease_seconds=30.0)
FULL = 1_000
_MOST_SHIFTS = 20

Files = dict[str, bytes]  # by ending: the database and its write-ahead log


@dataclass
class HalfDone:
    """A run that was killed in the middle: its files now and earlier, and what it had committed.

    What is in the log now moves to the database when it is closed, so there are two ways in which it may lie there.
    """

    in_log: Files
    closed: Files
    earlier: list[Files]
    blobs: dict[str, bytes]
    time: float


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> HalfDone:
    """Parts that are done, halved, leased and ready."""
    file, clock, store = tmp_path_factory.mktemp("queue") / "queue.sqlite", FakeClock(), MemoryStore()
    queue, states = SqliteQueue(file, clock), []
    queue.add(SITE.parts())
    states.append(read_files(file))
    queue.claim("dies", SITE.lease_seconds)
    clock.advance(SITE.lease_seconds + 1)
    states.append(read_files(file))
    SITE.worker("w", queue, store).run(lambda: len(read_records(store).commits) >= 6)
    queue.claim("is alive", SITE.lease_seconds)
    states.append(read_files(file))
    queue.close()
    states.append(read_files(file))
    assert len(read_records(store).splits) == 1
    *earlier, in_log, closed = states
    return HalfDone(in_log, closed, earlier, {key: store.get(key) for key in store.keys()}, clock.now())


def read_files(file: Path) -> Files:
    """As a copy of the folder would hold them."""
    paths = {ending: file.with_name(file.name + ending) for ending in ("", "-wal")}
    return {ending: path.read_bytes() for ending, path in paths.items() if path.exists()}


def write_files(file: Path, files: Files) -> None:
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    for ending, data in files.items():
        file.with_name(file.name + ending).write_bytes(data)


def flipped_bit(run: HalfDone, luck: random.Random) -> Files:
    return damaged(
        run, luck, lambda data, at: data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1 :]
    )


def cut_off(run: HalfDone, luck: random.Random) -> Files:
    return damaged(run, luck, lambda data, at: data[:at])


def zeroes(run: HalfDone, luck: random.Random) -> Files:
    length = luck.choice([8, 512, 4096])
    return damaged(run, luck, lambda data, at: data[:at] + bytes(min(length, len(data) - at)) + data[at + length :])


def moved_piece(run: HalfDone, luck: random.Random) -> Files:
    """A piece of the file over another, as a write to a wrong place."""

    def move(data: bytes, at: int) -> bytes:
        piece = data[(start := luck.randrange(len(data))) : start + luck.choice([16, 512, 4096])]
        return data[:at] + piece + data[at + len(piece) :]

    return damaged(run, luck, move)


def older(run: HalfDone, luck: random.Random) -> Files:
    return luck.choice(run.earlier)


def older_in_part(run: HalfDone, luck: random.Random) -> Files:
    """One file of another time than the other."""
    ending = luck.choice(["", "-wal"])
    return luck.choice([run.in_log, run.closed]) | {ending: luck.choice(run.earlier)[ending]}


def lost_log(run: HalfDone, luck: random.Random) -> Files:
    return {"": luck.choice([run.in_log, *run.earlier])[""]}


def damaged(run: HalfDone, luck: random.Random, change: Callable[[bytes, int], bytes]) -> Files:
    files = luck.choice([run.in_log, run.closed, run.closed])
    ending = luck.choice([ending for ending, data in files.items() if data])
    data = files[ending]
    return files | {ending: change(data, luck.randrange(len(data)))}


MUTATIONS = [flipped_bit, flipped_bit, flipped_bit, cut_off, zeroes, moved_piece, older, older_in_part, lost_log]


def carried_on(run: HalfDone, file: Path, store: MemoryStore) -> str:
    """What becomes of the run when its command is repeated, in the words of its driver."""
    clock = FakeClock(run.time)
    try:
        queue = SqliteQueue(file, clock)
    except UserMistake:
        return "refused when opened"
    try:
        if not worked(queue, store, clock):
            return "stands still"
        if queue.counts().buried:
            return "parts set aside"
        seal(store, SITE.parts(), SITE.manifest.row_ids())
    except UserMistake:
        return "refused later"
    except NotConserved:
        return "not sealed"
    finally:
        queue.close()
    return "finished"


def worked(queue: SqliteQueue, store: MemoryStore, clock: FakeClock) -> bool:
    """As the driver does it; False where nothing moves any more."""
    known = read_records(store)
    queue.add(list(known.leaves(SITE.parts())))
    queue.mark_done(sorted(known.commits))
    for shift in range(_MOST_SHIFTS):
        if not queue.counts().unfinished:
            return True
        SITE.worker(f"later-{shift}", queue, store).run(lambda: False)
        clock.advance(SITE.lease_seconds + 1)
    return False


def stored(run: HalfDone) -> MemoryStore:
    store = MemoryStore()
    for key, data in run.blobs.items():
        store.put(key, data)
    return store


def assert_right(store: MemoryStore) -> None:
    """Every row once, none an error, in a sealed output."""
    records = seal(store, SITE.parts(), SITE.manifest.row_ids())
    assert [row for record in records for row in rows_of(read_part(store, record))] == [
        (row, None) for row in range(SITE.rows)
    ]


def test_no_damage_of_the_queues_file_makes_a_wrong_result(
    half_done: HalfDone, tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    luck, outcomes, file = random.Random(SEED), Counter[str](), tmp_path / "queue.sqlite"
    for _ in range(scaled(FULL)):
        mutation = luck.choice(MUTATIONS)
        store = stored(half_done)
        write_files(file, mutation(half_done, luck))

        outcome = carried_on(half_done, file, store)

        outcomes[outcome] += 1
        if outcome != "finished":  # the cure that every message names
            write_files(file, {})
            assert carried_on(half_done, file, store) == "finished", (mutation.__name__, outcome)
        assert_right(store)
    report(
        "mutations of the queue's file", ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common())
    )
    assert outcomes["finished"] and outcomes["refused when opened"]
