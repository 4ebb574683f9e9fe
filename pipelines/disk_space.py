"""Whether an output can fit on its disk: said before the work, with numbers."""

import shutil
from pathlib import Path

from autosteer_core.errors import UserMistake

# A row of a short answer takes 100 to 400 bytes in its part and records, a part some 200 in the queue.
_BYTES_A_ROW = 256
_BYTES_ALWAYS = 4 * 2**20  # run record, summary, report, the queue's file and its log


def require_space(out: str, rows: int) -> None:
    """What is committed already is not counted: a run that goes on needs less than is asked for.

    Raises:
        UserMistake: E_DISK: less is free than even short rows will take.
    """
    if "://" in out:
        return
    folder = next(each for each in (Path(out).absolute(), *Path(out).absolute().parents) if each.exists())
    free, needed = shutil.disk_usage(folder).free, _BYTES_ALWAYS + rows * _BYTES_A_ROW
    if free < needed:
        raise UserMistake(
            f"{out} is for {rows:,} rows, which take {needed:,} bytes at least, and {free:,} are free at {folder}: "
            "make room, or choose another --out",
            "E_DISK",
        )
