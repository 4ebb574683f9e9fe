"""The machine's clock."""

import time


class SystemClock:
    """Wall clock seconds: they still mean the same after a restart or a reboot."""

    def now(self) -> float:
        # A monotonic clock starts anew at boot, and expiry times outlive the process that wrote them.
        # A wall clock may be set back or forward: that costs waiting or repeated work, never a wrong
        # result, because every write is fenced by the token and not by the time.
        return time.time()
