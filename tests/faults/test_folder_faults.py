"""The folder store when the disk is full and when writers are killed."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from infra.folder_store import FolderStore

FULL_DISK = """
import resource, sys
from pathlib import Path
from infra.folder_store import FolderStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # the disk is full after 1 KiB
store = FolderStore(Path(sys.argv[1]))
getattr(store, sys.argv[2])("parts/1", b"x" * 4096)
"""

WRITER = """
import os, sys
from pathlib import Path
from infra.folder_store import FolderStore
store = FolderStore(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1_000_000):
    store.put_if_absent(f"parts/{os.getpid()}-{number}", str(number).encode().rjust(300_000, b"."))
    store.put("summary", str(number % 10).encode() * 300_000)
"""


def full_disk(folder: Path, method: str) -> str:
    command = [sys.executable, "-c", FULL_DISK, str(folder), method]
    return subprocess.run(command, capture_output=True, text=True).stderr


def test_a_full_disk_leaves_no_partial_key(tmp_path: Path) -> None:
    error = full_disk(tmp_path, "put_if_absent")
    assert "UserMistake: no space for" in error and "4096 bytes are needed" in error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_keeps_what_was_there_before(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("parts/1", b"before")
    assert "UserMistake: no space for" in full_disk(tmp_path, "put")
    assert store.get("parts/1") == b"before"


def test_killed_writers_leave_only_whole_blobs(tmp_path: Path) -> None:
    luck = random.Random(7)
    store = FolderStore(tmp_path)
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        try:
            writer.wait(luck.uniform(0.001, 0.08))
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    keys = list(store.keys("parts/"))
    assert len(keys) > 12
    for key in keys:
        assert store.get(key) == key.partition("-")[2].encode().rjust(300_000, b".")
    assert len(set(store.get("summary"))) == 1 and len(store.get("summary")) == 300_000
    assert any((tmp_path / ".tmp").iterdir()), "no writer was hit in the middle of a write"
    assert sorted(store.keys()) == [*keys, "summary"]
