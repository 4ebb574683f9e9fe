"""Which names a blob may have, the same for every store."""

from autosteer_core.errors import UserMistake

_MAX_KEY_BYTES = 1_000  # S3 allows 1,024 for prefix and key together
_MAX_NAME_BYTES = 200  # file systems allow 255
KEY_RULE = (
    "use a relative path such as 'parts/0001.parquet', no name in it may be empty, start with a dot, contain a "
    f"backslash or be longer than {_MAX_NAME_BYTES} bytes, and all together {_MAX_KEY_BYTES:,} bytes"
)


def checked_key(key: str) -> str:
    """The key, if it is a relative path of visible names that no store reads in two ways."""
    names = key.split("/")
    if any(_is_unsafe(name) for name in names) or len(key.encode()) > _MAX_KEY_BYTES:
        raise UserMistake(f"{key!r:.200} cannot be a key: {KEY_RULE}", "E_URI")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix, if its folders are names that a key may have; the last name may be unfinished."""
    folder, _, _ = prefix.rpartition("/")
    if prefix.startswith("/") or folder:
        checked_key(folder)
    return prefix


def _is_unsafe(name: str) -> bool:
    hidden = not name or name.startswith(".")
    return hidden or "\\" in name or not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES
