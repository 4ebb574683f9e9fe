"""One connection to a PostgreSQL server: made when it is first needed, and again after it broke."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from autosteer_core.errors import Unreachable, UserMistake
from infra.postgres_errors import checked_address, place_of, plain_error

TABLE = "autosteer_part"
_MARK = "parts of autosteer runs, version 1"  # the table's comment: tells it from any other of this name
_ONE_MAKER = 0x41535131  # key of the lock under which the table is made
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    queue text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    part_id text NOT NULL,
    source text NOT NULL,
    start bigint NOT NULL,
    stop bigint NOT NULL,
    state text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'buried', 'split')),
    token bigint NOT NULL DEFAULT 0,
    worker text NOT NULL DEFAULT '',
    expires_at double precision NOT NULL DEFAULT 0,
    fail_count integer NOT NULL DEFAULT 0,
    crash_count integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (queue, part_id)
);
CREATE INDEX IF NOT EXISTS {TABLE}_open ON {TABLE} (queue, position) WHERE state IN ('ready', 'leased');
COMMENT ON TABLE {TABLE} IS '{_MARK}';
"""
# A client that freezes in a transaction must not stop the others for good, and a commit is on disk when it is told.
# Without sorts, claims follow the index of open parts from the oldest on; the planner of a table that has just been
# filled would rather read and sort all of it.
_SESSION = """
SELECT set_config('lock_timeout', '30s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
    set_config('enable_sort', 'off', false), set_config('enable_bitmapscan', 'off', false),
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END
"""
# A server that vanished without a word is noticed in half a minute, not in hours.
_NETWORK = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "tcp_user_timeout": 30_000}

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresLink:
    """`address` is a libpq URI; nothing is connected before the first session."""

    def __init__(self, address: str) -> None:
        self._address = address
        pieces = checked_address(address)
        self._place = place_of(pieces)
        self._network: dict[str, Any] = {name: value for name, value in _NETWORK.items() if name not in pieces}
        self._connection: Connection | None = None

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """The connection, each statement a transaction of its own unless one is begun.

        Raises:
            Unreachable: the server does not answer, or gave up; the next session connects anew.
            UserMistake: what a person has to put right: address, password, rights, a foreign table.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except psycopg.Error as error:
            said = plain_error(error, self._place)
            if isinstance(said, Unreachable):
                self.close()
            raise said from error

    def close(self) -> None:
        """No error if it is closed already."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        connection = psycopg.connect(self._address, autocommit=True, **self._network)
        try:
            connection.execute(_SESSION)
            self._prepare(connection)
        except (psycopg.Error, UserMistake):
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection) -> None:
        """Make the table where there is none: a user who may only use it needs no right to make one."""
        if not _found(connection):
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ONE_MAKER,))
                if not _found(connection):
                    connection.execute(_SCHEMA)
        ((mark,),) = connection.execute(f"SELECT obj_description('{TABLE}'::regclass)").fetchall()
        if mark != _MARK:
            raise UserMistake(
                f"table {TABLE} in {self._place} was made by another program or version: name another database, "
                "or drop the table; it is filled again from the commit records"
            )


def _found(connection: Connection) -> bool:
    ((table,),) = connection.execute(f"SELECT to_regclass('{TABLE}')").fetchall()
    return table is not None
