"""Text files that get their names only when all of them are whole."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from autosteer_core.errors import UserMistake


@contextmanager
def whole_files(folder: Path, names: Sequence[str]) -> Iterator[list[TextIO]]:
    """New files to write to; older ones of the names stay until the block has ended well, then they are replaced."""
    unfinished = [folder / f".{name}.{os.getpid()}" for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as stack:
                yield [stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in unfinished]
            for path, name in zip(unfinished, names, strict=True):
                os.replace(path, folder / name)
        finally:
            for path in unfinished:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UserMistake(f"cannot write into {folder} ({error.strerror}): choose another folder") from error
