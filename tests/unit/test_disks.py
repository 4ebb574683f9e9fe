"""Where a queue's file may lie, and whether an output can fit."""

import os
import subprocess
from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from infra.queue_disk import filesystem_of, require_local_disk
from pipelines.disk_space import require_space

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /data rw shared:2 - nfs4 host:/export rw
31 30 0:26 / /data/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:27 / /over rw - ext4 /dev/sdc1 rw
33 22 0:28 / /over rw - fuse.sshfs host: rw
damaged line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/x", "ext4"), ("/data", "nfs4"), ("/data/deep/er", "nfs4"), ("/data/local disk/x", "xfs"),
        ("/database", "ext4"), ("/over/x", "fuse.sshfs"),
    ],
)  # fmt: skip
def test_a_folder_lies_on_what_is_mounted_nearest_above_it(folder: str, kind: str) -> None:
    assert filesystem_of(Path(folder), MOUNTS) == kind


def test_a_folder_of_this_machine_may_hold_a_queue(tmp_path: Path) -> None:
    require_local_disk(tmp_path / "queue.sqlite")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk takes root")
def test_a_disk_that_is_too_small_is_refused_with_numbers(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "small", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine allows no mounts")
    try:
        require_space(str(tmp_path / "out"), 100)
        with pytest.raises(
            UserMistake, match=r"100,000 rows, which take .* bytes at least, and .* are free"
        ) as refused:
            require_space(str(tmp_path / "out"), 100_000)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert refused.value.code == "E_DISK"


def test_nothing_is_said_of_an_output_that_is_not_on_a_disk() -> None:
    require_space("s3://bucket/out", 10**15)
