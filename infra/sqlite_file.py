"""Opening the queue's database file, and saying plainly what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from autosteer_core.errors import Unreachable, UserMistake
from infra.sqlite_version import refuse_unsafe_sqlite

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x41535131  # "ASQ1": tells our file from any other SQLite database
_SCHEMA = f"""
CREATE TABLE part (
    position INTEGER PRIMARY KEY,
    part_id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'buried', 'split')),
    token INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    expires_at REAL NOT NULL DEFAULT 0,
    fail_count INTEGER NOT NULL DEFAULT 0,
    crash_count INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX part_open ON part (position) WHERE state IN ('ready', 'leased');
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


def open_queue_file(path: Path, busy_seconds: float) -> apsw.Connection:
    """A connection to a sound queue file of this version, created if there is none."""
    refuse_unsafe_sqlite(apsw.sqlite_lib_version())
    with plain_errors(path):
        db = apsw.Connection(str(path))
        try:
            _prepare(db, path, busy_seconds)
        except (apsw.Error, UserMistake):
            db.close()
            raise
    return db


def _prepare(db: apsw.Connection, path: Path, busy_seconds: float) -> None:
    db.set_busy_timeout(round(busy_seconds * 1000))
    db.transaction_mode = "IMMEDIATE"
    with db:  # two processes may create the file at the same moment
        if _is_blank(db):
            db.execute(_SCHEMA)
        _refuse_foreign(db, path)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    findings = db.execute("PRAGMA integrity_check(1)").fetchall()
    if findings != [("ok",)]:
        raise apsw.CorruptError(str(findings[0][0]).splitlines()[-1])


def _is_blank(db: apsw.Connection) -> bool:
    return not db.pragma("user_version") and not db.execute("SELECT 1 FROM sqlite_schema").fetchall()


def _refuse_foreign(db: apsw.Connection, path: Path) -> None:
    if db.pragma("application_id") != _APPLICATION_ID:
        raise UserMistake(f"{path} is a database of another program, not a queue: choose another file")
    found = db.pragma("user_version")
    if found != SCHEMA_VERSION:
        raise UserMistake(
            f"queue {path} has schema version {found}, this program knows {SCHEMA_VERSION}: use the version "
            "that wrote it, or delete the file; it is rebuilt from the commit records"
        )


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into what the caller does next."""
    try:
        yield
    except apsw.NotADBError as error:
        raise UserMistake(
            f"{path} is no database: name another file, or, if it is a queue that was damaged, delete it; "
            "it is rebuilt from the commit records"
        ) from error
    except apsw.CorruptError as error:
        raise UserMistake(
            f"queue database {path} is damaged ({error}): delete it together with its -wal and -shm files; "
            "it is rebuilt from the commit records"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Unreachable(f"queue database {path} stayed locked by another process: {error}") from error
    except apsw.FullError as error:
        raise UserMistake(f"no space left for queue database {path}: free some and start again") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.IOError) as error:
        raise UserMistake(
            f"queue database {path} cannot be read or written ({error}): check that its folder exists, "
            "is on a local disk and is writable"
        ) from error
    except apsw.SQLError as error:
        behind = _what_went_wrong(error)
        if behind is error:
            raise
        with plain_errors(path):
            raise behind from behind.__cause__


def _what_went_wrong(error: BaseException) -> BaseException:
    """The error behind: where SQLite undid a whole transaction by itself, apsw complains that it cannot undo it."""
    while isinstance(error, apsw.SQLError) and error.__context__ is not None:
        error = error.__context__
    return error
