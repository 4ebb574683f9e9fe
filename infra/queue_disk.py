"""Whether a queue's file may lie where it is to lie: on a disk of this machine."""

from pathlib import Path

from autosteer_core.errors import UserMistake

# The write-ahead log needs memory that all its readers share, and locks that hold: neither exists over a network.
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "gpfs", "beegfs"}
_MOUNTS = Path("/proc/self/mountinfo")


def require_local_disk(path: Path) -> None:
    """Look up what the path's folder is mounted from; where that cannot be known, nothing is refused.

    Raises:
        UserMistake: E_QUEUE_FS: a network or FUSE file system.
    """
    try:
        kind = filesystem_of(path.parent.resolve(), _MOUNTS.read_text("utf-8", "surrogateescape"))
    except OSError:
        return
    if kind in _REMOTE or kind.startswith("fuse"):
        raise UserMistake(
            f"the queue's file {path} would lie on {kind}, which cannot lock it safely: "
            "choose an --out on a local disk, or a queue on a server (setting `queue`)",
            "E_QUEUE_FS",
        )


def filesystem_of(folder: Path, mountinfo: str) -> str:
    """The type of what is mounted at the folder or the nearest one above it; empty if none is told."""
    found, longest = "", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        place = Path(_unescaped(fields[4]))
        # The last of two at one place covers the first.
        if (folder == place or place in folder.parents) and len(place.parts) >= longest:
            found, longest = after.split()[0], len(place.parts)
    return found


def _unescaped(path: str) -> str:
    """Blanks and backslashes are written as octal numbers."""
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path
