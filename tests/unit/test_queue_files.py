"""A run's queue, by its setting: in a file of its own, or on a server."""

import sys
from pathlib import Path

import pytest

from autosteer_core.commit import seal
from autosteer_core.engine import in_chunks
from autosteer_core.errors import UserMistake
from autosteer_core.values import QueueCounts
from infra.memory_store import MemoryStore
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from pipelines.queue_files import known_queue, open_queue, queue_name, require_queue
from pipelines.settings import load_settings
from tests.doubles import Numbers
from tests.unit.test_loop import LEASE, PARTS, answer
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience


def test_workers_finish_a_run_whose_queue_is_on_a_server(postgres_address: str, tmp_path: Path) -> None:
    out, store = str(tmp_path), MemoryStore()
    require_queue(postgres_address)
    queue = open_queue(out, "run", 2, load_settings(queue=postgres_address).queue)
    assert isinstance(queue, PostgresQueue)
    queue.add(PARTS)
    lifeline = Lifeline(queue, LEASE)
    worker = PartWorker(
        "w", queue, store, Numbers(12), in_chunks(answer, 2), lambda rows, lease: repr(rows).encode(),
        lifeline, Patience(lifeline.pulse), most_parts=2,
    )  # fmt: skip

    assert worker.run(lambda: False) == len(PARTS)

    queue.close()
    assert len(seal(store, PARTS, Numbers(12).row_ids())) == len(PARTS)
    with known_queue(out, "run", postgres_address) as known:
        assert known is not None
        assert known.counts() == QueueCounts(done=len(PARTS))


def test_without_the_setting_the_queue_is_a_file_and_known_once_it_is_there(tmp_path: Path) -> None:
    with known_queue(str(tmp_path), "run", None) as missing:
        assert missing is None
    queue = open_queue(str(tmp_path), "run")
    assert isinstance(queue, SqliteQueue)
    queue.close()
    with known_queue(str(tmp_path), "run", None) as known:
        assert known is not None


def test_one_run_into_two_outputs_has_two_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert queue_name("one", "run") == queue_name(str(tmp_path / "one"), "run")
    assert queue_name("s3://bucket/one/", "run") == queue_name("s3://bucket/one", "run")
    assert len({queue_name(out, "run") for out in ("one", "two", "s3://bucket/one", "s3://bucket/two")}) == 4


def test_another_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="setting `queue` names no server: expected postgresql://") as caught:
        require_queue("mysql://user:secret@host/database")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(load_settings(queue="postgresql://user:secret@host/database"))


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("infra.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserMistake, match=r"pip install 'autosteer\[postgres\]'"):
        require_queue("postgresql://host/database")
