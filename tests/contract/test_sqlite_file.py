"""What the queue's database file promises beyond the queue itself."""

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from autosteer_core.errors import TryAgain, Unreachable, UserMistake
from autosteer_core.values import Part, PartId, QueueCounts
from infra.sqlite_queue import SqliteQueue
from infra.sqlite_version import has_wal_reset_bug, refuse_unsafe_sqlite
from tests.doubles import FakeClock

PART = Part(PartId("part-1"), "manifest.parquet", 0, 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def filled(path: Path, parts: int = 200) -> None:
    queue = SqliteQueue(path, FakeClock())
    queue.add([Part(PartId(f"part-{n}"), "manifest.parquet", n, n + 1) for n in range(parts)])
    queue.close()


def test_everything_survives_closing_and_opening_again(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock())
    queue.add([PART, Part(PartId("part-2"), "manifest.parquet", 10, 20)])
    lease, other = queue.claim("ann", seconds=30, limit=2)
    queue.bury(other, "poison")
    queue.close()

    again = SqliteQueue(path, FakeClock())
    assert again.counts() == QueueCounts(leased=1, buried=1)
    assert [(part.part_id, reason) for part, reason in again.buried().items()] == [("part-2", "poison")]
    again.complete(lease)


def test_a_second_process_sees_the_claim(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock())
    queue.add([PART])
    queue.claim("ann", seconds=30)
    program = """
import sys; from pathlib import Path
from infra.sqlite_queue import SqliteQueue; from tests.doubles import FakeClock
queue = SqliteQueue(Path(sys.argv[1]), FakeClock())
print(queue.claim("bob", seconds=30), queue.counts().leased)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1\n"


def test_every_write_reaches_the_disk_before_it_returns(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock())
    full = 2
    assert (queue._db.pragma("journal_mode"), queue._db.pragma("synchronous")) == ("wal", full)


def test_a_queue_that_stays_locked_says_try_again(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock(), busy_seconds=0.01)
    queue.add([PART])
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TryAgain, match="locked"):
        queue.claim("ann", seconds=30)
    holder.execute("ROLLBACK")
    assert len(queue.claim("ann", seconds=30)) == 1


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs (x); PRAGMA user_version = 1")
    with pytest.raises(UserMistake, match="another program"):
        SqliteQueue(path, FakeClock())
    assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_newer_queue_file_is_refused(path: Path) -> None:
    filled(path)
    apsw.Connection(str(path)).execute("PRAGMA user_version = 3")
    with pytest.raises(UserMistake, match="schema version 3, this program knows 2"):
        SqliteQueue(path, FakeClock())


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_file_is_refused_by_name_and_may_be_deleted(path: Path, damage: str) -> None:
    filled(path)
    good = path.read_bytes()
    page = 4096
    path.write_bytes(
        {
            "flipped": good[:page] + b"\xff" * page + good[2 * page :],
            "truncated": good[: 2 * page],
        }[damage]
    )
    with pytest.raises(UserMistake, match=r"queue\.db is damaged .* delete it .* it is rebuilt"):
        SqliteQueue(path, FakeClock())


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("my notes " * 200)
    with pytest.raises(UserMistake, match=r"queue\.db is no database: name another file"):
        SqliteQueue(path, FakeClock())
    assert path.read_text() == "my notes " * 200


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"nowhere/queue\.db cannot be read or written .* folder exists"):
        SqliteQueue(tmp_path / "nowhere" / "queue.db", FakeClock())


def long_named(count: int) -> list[Part]:
    return [Part(PartId(f"long-{n}"), "x" * 3000, n, n + 1) for n in range(count)]


def test_a_full_database_is_told_in_plain_words_and_works_again_once_there_is_space(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock())
    queue.add([PART])
    queue._db.pragma("max_page_count", queue._db.pragma("page_count"))
    with pytest.raises(UserMistake, match=r"no space left for queue database .*queue\.db: free some"):
        queue.add(long_named(50))
    assert queue.counts() == QueueCounts(ready=1)
    queue._db.pragma("max_page_count", 1_000_000)
    assert queue.add(long_named(50)) == 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("parts", [400, 2_000], ids=["while it commits", "before it commits"])
def test_a_disk_that_is_really_full_changes_nothing(tmp_path: Path, parts: int) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        queue = SqliteQueue(tmp_path / "queue.db", FakeClock())
        queue.add([PART])
        with pytest.raises(UserMistake, match="no space left"):
            queue.add(long_named(parts))
        assert queue.counts() == QueueCounts(ready=1)
        queue.close()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_group_that_sqlite_undid_as_a_whole_is_told_to_all_and_not_to_the_one_alone(path: Path) -> None:
    queue = SqliteQueue(path, FakeClock())
    queue.add([PART])
    (lease,) = queue.claim("ann", seconds=30)
    queue._db.pragma("max_page_count", queue._db.pragma("page_count"))
    with pytest.raises(Unreachable, match="undid a group of calls"), queue.together():
        queue.complete(lease)
        with pytest.raises(UserMistake, match="no space left"), queue.together():
            queue.add(long_named(50))
    assert queue.counts() == QueueCounts(leased=1), "what was told to fail is not done"
    queue.complete(lease)


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2)])
def test_a_sqlite_that_can_lose_writes_is_refused(version: tuple[int, int, int]) -> None:
    assert has_wal_reset_bug(version)
    with pytest.raises(UserMistake, match="WAL-reset bug"):
        refuse_unsafe_sqlite(".".join(map(str, version)))


@pytest.mark.parametrize("version", [(3, 6, 23), (3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 54, 1), (4, 0, 0)])
def test_a_sqlite_with_the_fix_is_accepted(version: tuple[int, int, int]) -> None:
    assert not has_wal_reset_bug(version)
