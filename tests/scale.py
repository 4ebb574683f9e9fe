"""How much of a slow suite, and which: SUITE_SCALE=0.1 is a tenth of it, SUITE_SEED chooses another course."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Read once from the environment."""

    share: float
    seed: int

    @classmethod
    def of(cls, suite: str) -> "Scale":
        """By the suite's name in capitals."""
        return cls(float(os.environ.get(f"{suite}_SCALE", "1")), int(os.environ.get(f"{suite}_SEED", "0")))

    def scaled(self, full: int) -> int:
        """So many at this scale, at least one."""
        return max(1, round(full * self.share))
