"""A manifest is read by a process of its own: the same items come out, and its death is told, not shared."""

import json
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.values import Item, Part, PartId
from infra.open_manifest import open_manifest
from pipelines.reading import open_items
from tests.pictures import png
from workers.reader_process import ReaderProcess

ROWS = 40


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    pictures = [png(size=(row + 1, 3)) if row % 3 == 0 else None for row in range(ROWS)]
    table = pa.table(
        {
            "id": [f"item-{row}" if row != 5 else None for row in range(ROWS)],
            "text": [f"question \u2028 {row} \U0001f600" for row in range(ROWS)],
            "image": pa.array(pictures, pa.binary()),
            "label": ["harmful", "benign"] * (ROWS // 2),
            "group": ["g"] * ROWS,
            "system": [None, "Be brief."] * (ROWS // 2),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=16)
    return str(tmp_path / "m.parquet")


def part(start: int, stop: int) -> Part:
    return Part(PartId("p"), "m.parquet", start, stop)


def test_what_is_read_in_the_process_is_what_is_read_here(manifest: str) -> None:
    there, here = open_items(manifest), open_manifest(manifest)

    assert there.files() == here.files() == [("m.parquet", ROWS, there.files()[0][2])]
    assert there.row_ids() == here.row_ids()
    assert list(there.stretches("m.parquet")) == list(here.stretches("m.parquet"))
    read = list(there.items(part(3, 37)))
    assert read == list(here.items(part(3, 37)))
    assert read[2].flaw is not None and read[0].images and isinstance(read[0], Item)
    assert [item.system for item in read[:2]] == ["Be brief.", None]


def test_what_refuses_a_manifest_there_is_raised_here_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"")

    with pytest.raises(UserMistake, match="an empty file") as refused:
        open_items(str(tmp_path / "m.parquet")).files()

    assert refused.value.code == "E_PARQUET_EMPTY"


def test_whoever_stops_listening_in_the_middle_gets_other_rows_next(manifest: str) -> None:
    reader = open_items(manifest)
    begun = reader.items(part(0, ROWS))
    assert next(begun).row == 0
    begun.close()  # type: ignore[attr-defined]

    assert [item.row for item in reader.items(part(10, 12))] == [10, 11]


def test_a_process_that_is_killed_once_costs_no_row(manifest: str) -> None:
    reader = open_items(manifest)
    assert isinstance(reader, ReaderProcess)
    rows = []
    for item in reader.items(part(0, ROWS)):
        rows.append(item.row)
        if item.row == 20:
            assert reader.pid is not None
            os.kill(reader.pid, signal.SIGKILL)

    assert rows == list(range(ROWS))


def deadly(path: str) -> object:
    """Opened in the process: reading it ends the process, as an abort in a library does."""
    os.kill(os.getpid(), signal.SIGABRT)
    return path


def test_a_manifest_that_kills_its_reader_again_and_again_is_refused_by_name() -> None:
    reader = ReaderProcess("tests.unit.test_reader_process:deadly", {"path": "/no/such/m.parquet"})

    with pytest.raises(UserMistake, match=r"killed 2 processes \(exit code -6\)") as refused:
        reader.files()

    assert refused.value.code == "E_READER_DIED"
    assert reader.pid is None


def test_the_process_has_nothing_of_rays_and_ends_with_its_owner(
    manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/a/secret")
    reader = open_items(manifest)
    reader.files()
    assert isinstance(reader, ReaderProcess)
    pid = reader.pid
    assert pid is not None
    environment = Path(f"/proc/{pid}/environ").read_bytes()

    assert b"RAY_" not in environment and b"PYTHONPATH" in environment
    del reader
    assert not Path(f"/proc/{pid}").exists()


def bomb(size: int) -> object:
    """Takes more addresses than the process may have."""
    return json.dumps("x" * size)


def test_a_process_has_a_limit_of_memory() -> None:
    reader = ReaderProcess("tests.unit.test_reader_process:bomb", {"size": 8 * 2**30})

    with pytest.raises(RuntimeError, match="MemoryError"):
        reader.files()
