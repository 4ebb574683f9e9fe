"""The power fails: what a store said was written is there, and no record is there without its part.

A disk keeps what was synced, and may forget the rest. So the test keeps of every file what it held when it was
synced, of every folder the names that it had then, and reads the store that is left.
"""

import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autosteer_core.commit import commit_part, read_part, split_part
from autosteer_core.records import read_records
from autosteer_core.values import Action, Lease, Part, PartId, Verdict
from infra.folder_store import FolderStore

pytestmark = pytest.mark.chaos


class Disk:
    """Everything below `root` that was synced, by inode; `told` is called after each sync."""

    def __init__(self, root: Path) -> None:
        self._root, self._losses = root, 0
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, os.stat_result]] = {}
        self.told: Callable[[], None] = lambda: None

    def sync(self, descriptor: int) -> None:
        """Stands in for os.fsync."""
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            names = os.listdir(descriptor)
            self._folders[status.st_ino] = {name: os.stat(name, dir_fd=descriptor) for name in names}
        else:
            self._files[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        self.told()

    def after_a_power_loss(self) -> FolderStore:
        """The store as it would be found."""
        self._losses += 1
        target = self._root.with_name(f"found-{self._losses}")
        self._rebuild(self._root.parent.stat().st_ino, target, self._root.name)
        return FolderStore(target / self._root.name)

    def _rebuild(self, folder: int, target: Path, only: str | None = None) -> None:
        target.mkdir()
        for name, status in self._folders.get(folder, {}).items():
            if only not in (None, name):
                continue
            if stat.S_ISDIR(status.st_mode):
                self._rebuild(status.st_ino, target / name)
            else:
                (target / name).write_bytes(self._files.get(status.st_ino, b""))  # its bytes never reached the disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path / "store")
    monkeypatch.setattr(os, "fsync", disk.sync)
    yield disk


def test_what_was_put_is_there_after_a_power_loss(disk: Disk, tmp_path: Path) -> None:
    store, put = FolderStore(tmp_path / "store"), {}
    for number in range(6):
        key = f"{'ab'[number % 2]}/{number}"
        store.put_if_absent(key, b"x" * number)
        put[key] = b"x" * number
        store.put("view", b"%d" % number)

        found = disk.after_a_power_loss()
        assert {key: found.get(key) for key in found.keys()} == {**put, "view": b"%d" % number}


def test_a_writer_that_is_told_that_another_was_first_can_rely_on_the_others_blob(disk: Disk, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put_if_absent("commits/other", b"")
    draft = tmp_path / "store" / ".tmp" / "draft"
    with draft.open("xb") as file:
        file.write(b"first")
        file.flush()
        os.fsync(file.fileno())
    os.link(draft, tmp_path / "store" / "commits" / "slot")  # and then its process dies, before it syncs the folder

    assert not store.put_if_absent("commits/slot", b"second")

    assert disk.after_a_power_loss().get("commits/slot") == b"first"


def test_at_no_instant_is_there_a_record_without_its_part(disk: Disk, tmp_path: Path) -> None:
    store, instants = FolderStore(tmp_path / "store"), []

    def look() -> None:
        found = disk.after_a_power_loss()
        instants.append([read_part(found, record) for record in read_records(found).current])

    disk.told = look
    whole = Part(PartId("p0"), "f", 0, 4)
    for part in split_part(store, Lease(whole, 1, "w", 0.0), "its worker died"):
        rows = [Verdict(str(row), row, Action.ANSWER, math.nan) for row in range(part.start, part.stop)]
        commit_part(store, Lease(part, 1, "w", 0.0), rows, part.part_id.encode())

    assert instants[0] == []
    assert instants[-1] == [b"p0.0-2", b"p0.2-4"]
