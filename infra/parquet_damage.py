"""What is wrong with a Parquet file that cannot be read, told by both its ends and by what pyarrow says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase

import pyarrow as pa

from autosteer_core.errors import UserMistake, first_line
from infra.file_kind import HEAD_BYTES, looks_like

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_TAIL_BYTES = 8  # the footer's length, four bytes, and the magic once more
_CURE = "get a new copy of it"


@dataclass(slots=True)
class Stage:
    """How far reading got: what fails before `opened` is the footer, after it the pages."""

    opened: bool = False


def refuse_damaged_ends(raw: BufferedIOBase, where: str) -> None:
    """Look at both ends before any library does; leaves `raw` at its start.

    Raises:
        UserMistake: E_PARQUET_EMPTY, E_NOT_PARQUET, E_PARQUET_ENCRYPTED, E_PARQUET_TRUNCATED, E_PARQUET_FOOTER.
    """
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(HEAD_BYTES)
    raw.seek(max(size - _TAIL_BYTES, 0))
    tail = raw.read(_TAIL_BYTES)
    raw.seek(0)
    if not size:
        raise UserMistake(
            f"{where} looks like an empty file, a Parquet file was expected: {_CURE}", "E_PARQUET_EMPTY"
        )
    if head.startswith(_ENCRYPTED) or (head.startswith(_MAGIC) and tail.endswith(_ENCRYPTED)):
        raise _encrypted(where)
    if not head.startswith(_MAGIC):
        looks = looks_like(head)
        raise UserMistake(f"{where} is not a Parquet file, it looks like {looks}: check the path", "E_NOT_PARQUET")
    _refuse_damaged_tail(tail, size, where)


def _refuse_damaged_tail(tail: bytes, size: int, where: str) -> None:
    if size < 2 * len(_MAGIC) + 4 or not tail.endswith(_MAGIC):
        raise UserMistake(
            f"{where} is truncated or damaged (it has {size:,} bytes and does not end with a footer): {_CURE}",
            "E_PARQUET_TRUNCATED",
        )
    claimed = int.from_bytes(tail[:4], "little")
    if claimed > size - len(_MAGIC) - _TAIL_BYTES:
        raise UserMistake(
            f"{where} is truncated or damaged (its footer claims {claimed:,} bytes, the file has {size:,}): {_CURE}",
            "E_PARQUET_FOOTER",
        )


@contextmanager
def damage_named(where: str) -> Iterator[Stage]:
    """Turn what pyarrow says of a bad file into a sentence that names it.

    Raises:
        UserMistake: E_PARQUET_FOOTER, E_PARQUET_CHECKSUM, E_PARQUET_PAGE, E_PARQUET_ENCRYPTED, E_VALUE_TOO_LARGE.
    """
    stage = Stage()
    try:
        yield stage
    except MemoryError as error:  # before the others: pyarrow's own is both
        raise UserMistake(
            f"{where} unpacks to more than a reader may hold: write smaller values, row groups or files",
            "E_VALUE_TOO_LARGE",
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for damaged names and texts
        raise _damaged(where, first_line(error), stage) from error


def _damaged(where: str, said: str, stage: Stage) -> UserMistake:
    lowered = said.lower()
    if "decrypt" in lowered or "encrypt" in lowered:
        return _encrypted(where)
    code = "E_PARQUET_FOOTER" if not stage.opened else "E_PARQUET_CHECKSUM" if "CRC" in said else "E_PARQUET_PAGE"
    return UserMistake(f"{where} is truncated or damaged ({said}): {_CURE}", code)


def _encrypted(where: str) -> UserMistake:
    return UserMistake(
        f"{where} looks like an encrypted Parquet file, which is not supported: write it without encryption",
        "E_PARQUET_ENCRYPTED",
    )
