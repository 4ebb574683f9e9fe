"""Finished parts on their way to the store, behind the model: it decodes on while they are written."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from autosteer_core.values import Lease, Verdict

MOST_BEHIND = 2  # a store that is slower than the model holds it up, not memory
_SLICE_SECONDS = 1.0


class AtOnce(Executor):
    """Writes in the caller's thread, so that whoever chooses the order of events has chosen this too."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor, but what it gives is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (raised by the future)
            future.set_exception(error)
        return future


@dataclass(frozen=True, slots=True)
class Write:
    """A part whose rows have their verdicts; `outcome` is whether this attempt was the first."""

    lease: Lease
    verdicts: Sequence[Verdict]
    outcome: Future[bool]

    def wait(self, pulse: Callable[[], None]) -> None:
        """Until it is done; `pulse` is called meanwhile, and what it raises ends the wait."""
        while not wait([self.outcome], _SLICE_SECONDS).done:
            pulse()
