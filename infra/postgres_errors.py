"""What is wrong with a PostgreSQL server or its address: what to wait for, and what a person has to put right."""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from autosteer_core.errors import AutosteerError, Unreachable, UserMistake

_EXAMPLE = "postgresql://user@host:5432/database, with the password in PGPASSWORD or in ~/.pgpass"

# SQLSTATEs, or how they begin, that time does not heal.
_MISTAKES = {
    "25006": "it is read-only: name the primary server",
    "28": "check the user and the password",
    "3D": "name a database that is there, or create it",
    "3F": "its search path names no schema to create a table in: set one for this user",
    "42501": "let this user create tables there, or read and write the table autosteer_part",
    "42": "its table autosteer_part was made by another program or version: choose another database or schema",
}
# A connection that was refused carries no SQLSTATE: libpq gives its words alone.
_REFUSALS = (
    "authentication failed", "no password supplied", "pg_hba.conf", "does not exist", "not permitted to log in",
    "permission denied", "certificate", "does not support SSL", "invalid ",
)  # fmt: skip


def checked_address(address: str) -> dict[str, Any]:
    """The address in its pieces, as libpq reads it.

    Raises:
        UserMistake: it is none. What it says is not repeated, for any piece of it may hold the password.
    """
    try:
        pieces = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        raise _no_address("it cannot be read") from None
    host, port, database = (str(pieces.get(name) or "") for name in ("host", "port", "dbname"))
    # A password with an unescaped @ or / spills into its neighbours, and those are named in messages.
    if "@" in host + database or (port and not port.replace(",", "0").isdigit()):
        raise _no_address("its password has a @, / or : that must be written as %40, %2F or %3A")
    return pieces


def _no_address(why: str) -> UserMistake:
    return UserMistake(f"the queue's address is not one of a PostgreSQL database, {why}: expected {_EXAMPLE}")


def place_of(pieces: dict[str, Any]) -> str:
    """Which database it is, for a person."""
    database, host, port = (pieces.get(name) for name in ("dbname", "host", "port"))
    return f"PostgreSQL database {database or '(default)'} at {host or '(default)'}:{port or 5432}"


def plain_error(error: psycopg.Error, place: str) -> AutosteerError:
    """What the caller does next."""
    said = " ".join(str(error).split())
    state = error.sqlstate or ""
    for beginning, advice in _MISTAKES.items():
        if state.startswith(beginning):
            return UserMistake(f"{place} refused the queue ({said}): {advice}")
    if not state and any(words in said for words in _REFUSALS):
        return UserMistake(
            f"{place} does not let the queue in ({said}): check the user, the password, the name of the database "
            "and the server's pg_hba.conf"
        )
    if isinstance(error, psycopg.DataError):
        return UserMistake(f"{place} cannot keep what the queue was given ({said}): rename the manifest's file")
    return Unreachable(f"{place} did not answer or gave up ({said})")
