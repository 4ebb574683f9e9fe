"""One part id names one row range for ever."""

from autosteer_core.errors import UserMistake
from autosteer_core.values import Part


def conflicting_part(known: Part, new: Part) -> UserMistake:
    """The refusal of a part whose id already stands for other rows."""
    return UserMistake(
        f"part {new.part_id} is already queued for {_rows(known)}, now it is given for {_rows(new)}: "
        "a changed input is a new run with its own queue"
    )


def _rows(part: Part) -> str:
    return f"rows {part.start}-{part.stop} of {part.source}"
