"""What the queue on a PostgreSQL server promises beyond the queue itself."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from autosteer_core.errors import LeaseLost, Unreachable, UserMistake
from autosteer_core.ports import PartQueue
from autosteer_core.values import Part, PartId, QueueCounts
from infra import postgres_queue
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock

PARTS = [Part(PartId(f"part-{number}"), "manifest.parquet", number, number + 1) for number in range(120)]
PROCESSES = 3
_forked = multiprocessing.get_context("fork")


@pytest.fixture
def queue(postgres_address: str) -> Iterator[PostgresQueue]:
    """A new queue on the server's clock, with two parts."""
    made = PostgresQueue(postgres_address, uuid4().hex)
    made.add(PARTS[:2])
    yield made
    made.close()


def terminate(address: str, queue: PostgresQueue) -> None:
    """The server ends the queue's connection, as it does when it is shut down."""
    with queue._link.session() as db, psycopg.connect(address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (db.info.backend_pid,))


def test_two_queues_in_one_table_do_not_see_each_other(postgres_address: str, queue: PostgresQueue) -> None:
    other = PostgresQueue(postgres_address, uuid4().hex)
    other.add(PARTS[:1])
    (lease,) = queue.claim("ann", 30)
    with pytest.raises(LeaseLost, match="the part is ready at lease 0"):
        other.complete(lease)
    other.mark_done([PARTS[1].part_id])
    assert (queue.counts(), other.counts()) == (QueueCounts(ready=1, leased=1), QueueCounts(ready=1))
    other.close()


def test_the_servers_clock_decides_when_a_lease_ends(postgres_address: str, queue: PostgresQueue) -> None:
    (short, _) = queue.claim("ann", 0.2, limit=2)
    with psycopg.connect(postgres_address) as db:
        ((now,),) = db.execute("SELECT extract(epoch FROM now())::float8").fetchall()
    assert 0 < short.expires_at - now + 0.2 < 0.4
    assert queue.claim("bob", 30) == []
    time.sleep(0.25)
    assert [lease.crashes for lease in queue.claim("bob", 30, limit=9)] == [1, 1]


def test_a_connection_that_was_cut_is_made_again_by_the_next_call(
    postgres_address: str, queue: PostgresQueue
) -> None:
    (lease,) = queue.claim("ann", 30)
    terminate(postgres_address, queue)
    with pytest.raises(Unreachable):
        queue.complete(lease)
    queue.complete(lease)
    assert queue.counts() == QueueCounts(ready=1, done=1)


def test_a_connection_cut_in_the_middle_of_a_change_leaves_the_queue_as_it_was(
    postgres_address: str, queue: PostgresQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add([Part(PartId("long"), "manifest.parquet", 200, 300)])
    *_, lease = queue.claim("ann", 30, limit=3)
    before, insert = queue.counts(), queue._insert

    def cut_before_the_halves(db: postgres_queue.Connection, parts: list[Part]) -> int:
        terminate(postgres_address, queue)
        return insert(db, parts)

    with monkeypatch.context() as patched:
        patched.setattr(queue, "_insert", cut_before_the_halves)
        with pytest.raises(Unreachable):
            queue.split(lease, lease.part.halves())
    assert queue.counts() == before
    queue.split(lease, lease.part.halves())
    assert queue.counts() == QueueCounts(ready=2, leased=2, split=1)


def drain(open_queue: Callable[[], PartQueue], worker: int) -> list[str]:
    """What one process is given until nothing is left."""
    queue, mine = open_queue(), []
    while leases := queue.claim(f"worker-{worker}", 60, limit=2):
        mine += [str(lease.part.part_id) for lease in leases]
        for lease in leases:
            with suppress(LeaseLost):  # where claims are not exclusive
                queue.complete(lease)
    queue.close()
    return mine


def given_to_all(open_queue: Callable[[], PartQueue]) -> list[str]:
    """What several processes are given who claim at the same time."""
    filled = open_queue()
    filled.add(PARTS)
    filled.close()
    with _forked.Pool(PROCESSES) as processes:
        shares = processes.map(partial(drain, open_queue), range(PROCESSES), chunksize=1)
    return sorted(part_id for share in shares for part_id in share)


ALL = sorted(str(part.part_id) for part in PARTS)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nothing_is_given_twice_to_processes_that_claim_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    open_queue: Callable[[], PartQueue] = partial(SqliteQueue, tmp_path / "queue.db", SystemClock())
    if kind == "postgres":
        open_queue = partial(PostgresQueue, request.getfixturevalue("postgres_address"), uuid4().hex)
    assert given_to_all(open_queue) == ALL


def test_without_locks_the_same_race_gives_parts_twice(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_queue, "_CLAIM", postgres_queue._CLAIM.replace("FOR UPDATE SKIP LOCKED", ""))
    assert len(given_to_all(partial(PostgresQueue, postgres_address, uuid4().hex))) > len(ALL)


def in_new_schema(address: str, *statements: str) -> str:
    """An address whose tables are its own."""
    schema = f"s{uuid4().hex}"
    with psycopg.connect(address) as db:
        for statement in (f"CREATE SCHEMA {schema}", f"SET search_path = {schema}", *statements):
            db.execute(statement.encode())
    return f"{address}&options=-csearch_path%3D{schema}"


def test_processes_that_make_the_table_at_once_do_not_get_into_each_others_way(postgres_address: str) -> None:
    address = in_new_schema(postgres_address)
    with _forked.Pool(PROCESSES) as processes:
        added = processes.map(partial(_add_one, address), range(PROCESSES), chunksize=1)
    assert added == [1] * PROCESSES


def _add_one(address: str, number: int) -> int:
    return PostgresQueue(address, "run").add([PARTS[number]])


def test_a_table_of_another_program_is_refused(postgres_address: str) -> None:
    address = in_new_schema(postgres_address, "CREATE TABLE autosteer_part (queue text, state text)")
    stranger = PostgresQueue(address, "run")
    with pytest.raises(UserMistake, match="table autosteer_part in .* was made by another program"):
        stranger.counts()


def test_who_may_use_the_table_needs_no_right_to_make_one(postgres_address: str, queue: PostgresQueue) -> None:
    address = postgres_address.replace("test@", "helper@")
    with psycopg.connect(postgres_address, autocommit=True) as db:
        db.execute("CREATE ROLE helper LOGIN")
        denied = PostgresQueue(address, queue._name)
        with pytest.raises(UserMistake, match="permission denied .*: let this user"):
            denied.counts()
        db.execute("GRANT SELECT, INSERT, UPDATE ON autosteer_part TO helper")
    assert denied.counts() == QueueCounts(ready=2)
    denied.close()


def test_a_server_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="did not answer"):
        PostgresQueue(f"postgresql://test:secret@/postgres?host={tmp_path}", "run").counts()


@pytest.mark.parametrize("change", [("/postgres?", "/nowhere?"), ("test@", "nobody@"), ("test@", "locked:secret@")])
def test_a_wrong_database_user_or_password_is_a_mistake_to_put_right(
    postgres_address: str, change: tuple[str, str]
) -> None:
    with psycopg.connect(postgres_address, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS locked")
        db.execute("CREATE ROLE locked LOGIN PASSWORD 'another'")
    with pytest.raises(UserMistake, match="check the user, the password, the name of the database") as caught:
        PostgresQueue(postgres_address.replace(*change), "run").counts()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:p@secret@host/database",
        "postgresql://user:p/secret@host/database",
        "postgresql://user:12/secret@host/database",
        "postgresql://user:p%secret@host/database",
        "postgresql://user:p secret@host/database",
        "postgresql://user:secret@[host/database",
        "postgresql://user:secret@host:port/database",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UserMistake, match=r"expected postgresql://user@host:5432/database") as caught:
        PostgresQueue(address, "run")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
