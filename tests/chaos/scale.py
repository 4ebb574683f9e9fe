"""How much chaos, and which: CHAOS_SCALE=0.1 is a tenth of it, CHAOS_SEED chooses another course of events."""

import os

SCALE = float(os.environ.get("CHAOS_SCALE", "1"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))


def scaled(full: int) -> int:
    """So many at this scale, at least one."""
    return max(1, round(full * SCALE))
