"""Who may talk to the Ray of this machine: processes on it that can read a token of their owner."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from autosteer_core.errors import UserMistake
from workers.state_folder import state_folder

LOOPBACK = "127.0.0.1"
_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
# Named after the systems where it is Ray's default: without clusters Ray takes the loopback address for its own, and
# then none of its servers listens on another.
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare() -> None:
    """Before Ray is imported, which reads both once."""
    os.environ.setdefault(_MODE, "token")
    os.environ.setdefault(_CLUSTERS, "0")


def require_token() -> None:
    """Refuse to start without; a token is made where none was named.

    Ray would make one by itself, readable for everybody. It keeps the first token that it reads for the whole life of
    a process, so the file stays the same.

    Raises:
        UserMistake: E_RAY_AUTH: another mode, or a token that others can read.
    """
    mode = os.environ.get(_MODE, "")
    if mode != "token":
        raise _refused(f"{_MODE} is {mode or 'not set'}", "set it to token, or unset it")
    if _TOKEN in os.environ:
        raise _refused(
            f"{_TOKEN} is set, which every child process inherits",
            f"put it into a file that only you can read and name that in {_TOKEN_PATH}",
        )
    if _TOKEN_PATH not in os.environ:
        os.environ[_TOKEN_PATH] = str(_own_token())
    _require_private(Path(os.environ[_TOKEN_PATH]))


def _require_private(file: Path) -> None:
    try:
        found = file.stat()
    except OSError as error:
        raise _refused(
            f"{_TOKEN_PATH} names {file}, which cannot be read ({error.strerror})", "name a file"
        ) from error
    if found.st_mode & 0o077:
        raise _refused(f"the token file {file} has mode {found.st_mode & 0o777:04o}", f"chmod 600 {file}")
    if found.st_size == 0:
        raise _refused(f"the token file {file} is empty", "delete it, and a new one is made")


def _refused(what: str, remedy: str) -> UserMistake:
    return UserMistake(f"Ray must ask for a token that only you can read; {what}: {remedy}", "E_RAY_AUTH")


def _own_token() -> Path:
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "ray_token"
    if not file.exists():
        draft = folder / f".ray_token-{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        # A link never replaces: of two commands that start together, both use the first one's token.
        with suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    return file
