"""Whether the rows of a run can be done again by another bundle than made them."""

from collections.abc import Mapping
from typing import Any

from autosteer_core.errors import UserMistake
from autosteer_core.run import FOLLOWING


def follows(run: Mapping[str, Any]) -> bool:
    """Whether the run takes the bundle that is promoted, as its record says."""
    return bool(run["bundle_id"] == FOLLOWING)


def require_following(out: str, run: Mapping[str, Any]) -> None:
    """Raise UserMistake, E_PINNED, for a run that has one bundle for all of its rows, by its very identity."""
    if not follows(run):
        raise UserMistake(
            f"{out} is a run of bundle {run['bundle_id']} for good, its rows cannot be done again by another: repeat "
            "its command with the other --bundle and a new --out, or with --registry in place of --bundle, so that "
            "the next run follows what is promoted",
            "E_PINNED",
        )
