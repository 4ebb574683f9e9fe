"""A PostgreSQL server for the tests alone: a new cluster in a temporary folder, spoken to over a socket there."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

# The defaults of a server that people run, commits on disk included, but small.
_SETTINGS = """
listen_addresses = ''
fsync = on
synchronous_commit = on
shared_buffers = 16MB
max_connections = 40
log_min_messages = panic
"""


def why_no_postgres() -> str | None:
    """Why no server can be started here; None where one can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return None if _initdb() else "PostgreSQL is not installed: there is no initdb"


def _initdb() -> Path | None:
    """In the path, or where Debian keeps it."""
    if found := shutil.which("initdb"):
        return Path(os.path.realpath(found))  # a link into the path has none of its companions beside it
    return max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)


@contextmanager
def serve_postgres() -> Iterator[str]:
    """The server's address, while it runs: all may come in, only a role named `locked` needs its password."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has at most 107 bytes
    owner = _owner()
    try:
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        data = str(folder / "data")
        _run("initdb", "-D", data, "-A", "trust", "-U", "test", "--encoding=UTF8", "--locale=C", **owner)
        with Path(data, "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}unix_socket_directories = '{folder}'\n")
        rules = Path(data, "pg_hba.conf")
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
        log = str(folder / "log")
        _run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "start", **owner)
        try:
            yield f"postgresql://test@/postgres?host={quote(str(folder), safe='')}"
        finally:
            _run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", **owner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; another user owns the server then."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(program: str, *arguments: str, **owner: Any) -> None:
    found = (_initdb() or Path("initdb")).with_name(program)
    done = subprocess.run(
        [str(found), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", check=False, **owner,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")
