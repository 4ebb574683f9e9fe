"""Which SQLite libraries are safe to write a WAL database with."""

from autosteer_core.errors import UserMistake

Version = tuple[int, int, int]

# The WAL-reset race can lose committed writes. It came with WAL itself and was fixed in 3.51.3; two older
# lines got the fix as well. See sqlite.org/wal.html, "The WAL-Reset Bug".
_FIRST_AFFECTED: Version = (3, 7, 0)
_FIRST_FIXED: Version = (3, 51, 3)
_BACKPORTS: dict[tuple[int, int], int] = {(3, 44): 6, (3, 50): 7}


def has_wal_reset_bug(version: Version) -> bool:
    """True for 3.7.0 to 3.51.2, except the patched 3.44 and 3.50 lines."""
    fixed_patch = _BACKPORTS.get(version[:2])
    if fixed_patch is not None and version[2] >= fixed_patch:
        return False
    return _FIRST_AFFECTED <= version < _FIRST_FIXED


def refuse_unsafe_sqlite(library: str) -> None:
    """`library` is the version text of the SQLite that is loaded, such as `3.54.1`."""
    major, minor, patch = (int(number) for number in library.split(".")[:3])
    if has_wal_reset_bug((major, minor, patch)):
        raise UserMistake(
            f"SQLite {library} can lose committed writes (WAL-reset bug): the queue needs 3.51.3, 3.50.7, "
            "3.44.6 or later: install a current apsw",
            "E_VERSION",
        )
