"""The folder store when the disk is full or closed, when files run out, and when writers are killed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest

from autosteer_core.errors import TryAgain, UserMistake
from infra.folder_store import FolderStore

FULL_DISK = """
import resource, sys
from pathlib import Path
from infra.folder_store import FolderStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # the disk is full after 1 KiB
store = FolderStore(Path(sys.argv[1]))
getattr(store, sys.argv[2])("parts/1", b"x" * 4096)
"""

# Writers that are forked and killed at random instants; `direct` is the control, which writes under the final name.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from infra.folder_store import FolderStore

class Direct(FolderStore):
    def put_if_absent(self, key, data):
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for start in range(0, len(data), 4_096):
                os.write(file.fileno(), data[start : start + 4_096])
        return True

root, rounds, direct = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "direct"
luck = random.Random(7)
for _ in range(rounds):
    begun, begin = os.pipe()
    if not (writer := os.fork()):
        store = Direct(root) if direct else FolderStore(root)
        for number in range(1_000_000):
            store.put_if_absent(f"parts/{os.getpid()}-{number}", str(number).encode().rjust(300_000, b"."))
            if not direct:
                store.put("summary", str(number % 10).encode() * 300_000)
            if not number:
                os.write(begin, b"1")
    os.read(begun, 1)
    time.sleep(luck.uniform(0.0, 0.015))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    os.close(begun), os.close(begin)
"""

# Without root's rights, which a folder's permissions do not bind.
UNPRIVILEGED = """
import os, sys
from pathlib import Path
from infra.folder_store import FolderStore
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = FolderStore(Path(sys.argv[1]))
for act in (
    lambda: store.put_if_absent("parts/2", b"new"), lambda: store.put("parts/1", b"new"),
    lambda: store.delete("parts/1"), lambda: store.sweep(0.0),
    lambda: list(store.keys()), lambda: store.get("parts/1"),
):
    try:
        print(act())
    except Exception as error:
        print(type(error).__name__, error)
"""

TOO_MANY_OPEN = """
import os, resource, sys
from pathlib import Path
from infra.folder_store import FolderStore
store = FolderStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for act in (lambda: store.put_if_absent("parts/2", b"new"), lambda: store.get("parts/1"), lambda: list(store.keys())):
    for free in (0, 1):  # with one left, the file can be written and its folder not be synced
        for _ in range(free):
            os.close(taken.pop())
        try:
            print(act())
        except Exception as error:
            print(type(error).__name__, error)
"""


def run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full_leaves_no_partial_key(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        store = FolderStore(tmp_path)
        assert store.put_if_absent("parts/1", b"x" * 100_000)
        for put in (store.put_if_absent, store.put):
            with pytest.raises(UserMistake, match="no space for .*No space left.*: 300000 bytes are needed"):
                put("parts/2", b"x" * 300_000)
        assert list(store.keys()) == ["parts/1"] and list((tmp_path / ".tmp").iterdir()) == []
        assert store.put_if_absent("parts/2", b"x" * 100_000), "what the failed writes took is free again"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_writers_killed_at_any_instant_leave_only_whole_blobs(tmp_path: Path) -> None:
    run(KILLER, tmp_path, 60, "as shipped")
    store = FolderStore(tmp_path)
    keys = list(store.keys("parts/"))
    assert len(keys) >= 60
    assert [key for key in keys if store.get(key) != whole(key)] == []
    assert len(set(store.get("summary"))) == 1 and len(store.get("summary")) == 300_000
    assert sorted(store.keys()) == [*keys, "summary"]

    left = list((tmp_path / ".tmp").iterdir())
    assert len(left) > 5, "no writer was hit in the middle of a write"
    assert store.sweep(older_than=3_600.0) == 0
    assert store.sweep(older_than=0.0) == len(left)
    assert list(store.keys("parts/")) == keys


def test_without_a_name_of_their_own_killed_writers_leave_half_a_blob(tmp_path: Path) -> None:
    run(KILLER, tmp_path, 60, "direct")
    store = FolderStore(tmp_path)
    assert [key for key in store.keys("parts/") if store.get(key) != whole(key)] != []


def whole(key: str) -> bytes:
    return key.partition("-")[2].encode().rjust(300_000, b".")


def test_a_writer_whose_file_is_swept_away_is_told_to_write_again(tmp_path: Path) -> None:
    store, written, told, over = FolderStore(tmp_path), 0, 0, Event()

    def sweep() -> None:
        while not over.is_set():
            store.sweep(older_than=0.0)

    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep)
        while told < 3 and written < 2_000:
            try:
                written += store.put_if_absent(f"parts/{written}", b"x" * 10_000)
            except TryAgain as error:
                assert "was swept away while it was being written" in str(error)
                told += 1
        over.set()
        sweeping.result()
    assert told == 3, "too few writes were hit by a sweep"
    assert [len(store.get(key)) for key in store.keys()] == [10_000] * written


def test_a_folder_that_may_not_be_written_is_a_mistake_to_correct() -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        FolderStore(root).put("parts/1", b"old")
        for folder in (root, root / "parts", root / ".tmp"):
            folder.chmod(0o555)
        written = run(UNPRIVILEGED, root)
        for folder in (root, root / "parts", root / ".tmp"):
            folder.chmod(0o755)
    assert all(line.startswith("UserMistake cannot write ") and "Permission denied" in line for line in written[:2])
    assert written[2].startswith("UserMistake ") and "cannot be deleted (Permission denied)" in written[2]
    assert written[3:] == ["0", "['parts/1']", "b'old'"]


def test_a_process_with_too_many_open_files_is_told_so_and_leaves_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("parts/1", b"old")
    answers = run(TOO_MANY_OPEN, tmp_path)
    assert answers[0].startswith("UserMistake cannot write ")
    assert all("raise the limit, see `ulimit -n`" in line for line in answers if line.startswith("UserMistake"))
    assert not any(line.startswith("OSError") for line in answers)
    assert list((tmp_path / ".tmp").iterdir()) == []
    assert {store.get(key) for key in store.keys()} <= {b"old", b"new"}
