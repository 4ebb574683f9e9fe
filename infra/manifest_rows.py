"""Checks of row counts that every manifest shares."""

from collections.abc import Sequence

from autosteer_core.errors import UserMistake
from autosteer_core.values import Part
from infra.manifest_files import ManifestFiles


def refuse_no_rows(planned: Sequence[tuple[str, int, str]], files: ManifestFiles) -> None:
    """A run of nothing is more likely a wrong path than a wish."""
    if not any(rows for _, rows, _ in planned):
        named = ", ".join(files.describe(name) for name in files.names)
        raise UserMistake(f"the manifest has no rows ({named}): check the path and how it was made")


def refuse_changed(part: Part, rows: int, where: str) -> None:
    """A part cut from a longer file cannot be read from this one."""
    if part.stop > rows:
        raise UserMistake(
            f"{where} has {rows} rows, the run was planned with {part.stop} or more: it was changed, start a new run"
        )
