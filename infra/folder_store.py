"""A blob store in a folder of a local disk."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from uuid import uuid4

from autosteer_core.errors import TryAgain, UserMistake
from infra.blob_key import checked_key, checked_prefix
from infra.regular_file import open_regular

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}


class FolderStore:
    """A blob is a file; it gets its final name only when it is whole and on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temp = root / ".tmp"  # no key starts with a dot
        self._anchor = next(folder for folder in (root, *root.parents) if os.path.exists(folder))  # never raises

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with self._written(path, data) as temp:
            try:
                os.link(temp, path)  # unlike a rename, a link never replaces
                return True
            except FileExistsError:
                if path.is_dir():
                    raise
                return False
            finally:
                # The loser syncs too: it will act on the winner's file, which may not be on the disk yet.
                self._sync_folders(path)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as temp:
            temp.replace(path)
            self._sync_folders(path)

    def get(self, key: str) -> bytes:
        return self.first_bytes(key, -1)

    def first_bytes(self, key: str, most: int) -> bytes:
        try:
            with open_regular(self._path(key)) as file:
                return file.read(most)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise _refused(self._path(key), "read", error) from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        folder = self._root / checked_prefix(prefix).rpartition("/")[0]
        yield from sorted(key for key in self._below(folder) if key.startswith(prefix) and "/." not in f"/{key}")

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return  # a folder on the way to other keys is not a key
        except OSError as error:
            raise _refused(self._path(key), "deleted", error) from error

    def age(self, key: str) -> float:
        path = self._path(key)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise _refused(path, "looked at", error) from error
        if not S_ISREG(found.st_mode):
            raise KeyError(key)  # a folder on the way to other keys is not a key
        return max(0.0, time.time() - found.st_mtime)

    def sweep(self, older_than: float) -> int:
        """A process that is killed while it writes leaves a file without a name of its own."""
        try:
            left = [temp for temp in self._temp.glob("*") if _age(temp) >= older_than]
            for temp in left:
                temp.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._temp, "swept", error) from error
        return len(left)

    def describe(self) -> str:
        return str(self._root)

    def _below(self, folder: Path) -> Iterator[str]:
        """Names as the folders list them: no file is looked at, however many there are."""
        for at, _, names in os.walk(folder, onerror=_refuse_unreadable):
            here = "" if Path(at) == self._root else Path(at).relative_to(self._root).as_posix() + "/"
            yield from (here + name for name in names)

    def _path(self, key: str) -> Path:
        path = self._root / checked_key(key)
        # Unlike Path.resolve, this does not fail at links that lead in a circle: opening them does.
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self._root)):
            raise UserMistake(f"{path} leads out of {self._root} through a link: remove the link")
        return path

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """A file with the bytes under a name of its own, on the disk; gone again afterwards."""
        temp = self._temp / uuid4().hex
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._temp.mkdir(exist_ok=True)
            try:
                _write_through(temp, data)
                yield temp
            except FileNotFoundError as error:
                raise TryAgain(f"{path} was swept away while it was being written: write it again") from error
            finally:
                temp.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(path, len(data), error) from error

    def _sync_folders(self, path: Path) -> None:
        """Make the name durable, and the folders that had to be made for it."""
        for folder in path.parents:
            _sync_folder(folder)
            if folder == self._anchor:
                break


def _age(path: Path) -> float:
    """Seconds; a file that is gone by now was the work of somebody who is alive."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return -1.0


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_unreadable(error: OSError) -> None:
    """Without this a folder that may not be listed would look empty."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _refused(error.filename, "listed", error) from error


def _refused(path: Path | str, act: str, error: OSError) -> UserMistake:
    if error.errno in _TOO_MANY_OPEN:
        return UserMistake(f"{path} cannot be {act}: {_raise_the_limit(error)}")
    return UserMistake(f"{path} cannot be {act} ({error.strerror}): check its permissions and its disk")


def _raise_the_limit(error: OSError) -> str:
    return f"this process has as many files open as it may ({error.strerror}): raise the limit, see `ulimit -n`"


def _cannot_write(path: Path, size: int, error: OSError) -> UserMistake:
    if error.errno in _TOO_MANY_OPEN:
        return UserMistake(f"cannot write {path}: {_raise_the_limit(error)}")
    if error.errno in _NO_SPACE:
        return UserMistake(f"no space for {path} ({error.strerror}): {size} bytes are needed, free some")
    return UserMistake(
        f"cannot write {path} ({error.strerror}): check that its folder is writable and on a disk with hard links"
    )
