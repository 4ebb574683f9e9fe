"""Checks of row counts that every manifest shares."""

from collections.abc import Sequence

from autosteer_core.errors import UserMistake
from autosteer_core.values import Part


def refuse_no_rows(files: Sequence[tuple[str, int, str]], address: str) -> None:
    """For what cannot be done with nothing: a bundle is not fitted on no rows."""
    if not any(rows for _, rows, _ in files):
        named = ", ".join(name for name, _, _ in files)
        raise UserMistake(
            f"the manifest {address} has no rows ({named}): check the path and how it was made", "E_NO_ROWS"
        )


def refuse_changed(part: Part, rows: int, where: str) -> None:
    """A part cut from a longer file cannot be read from this one."""
    if part.stop > rows:
        raise UserMistake(
            f"{where} has {rows} rows, the run was planned with {part.stop} or more: it was changed, start a new run",
            "E_SOURCE_CHANGED",
        )
