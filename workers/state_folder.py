"""Where this user's programs keep what outlives a command and is no one's output."""

import os
from pathlib import Path


def state_folder() -> Path:
    """Ours below `XDG_STATE_HOME`, or below its default; not made here."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "autosteer"
