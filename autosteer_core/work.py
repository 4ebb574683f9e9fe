"""One piece of decoding, and the course that asks for one piece after another until it has its result."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer
from autosteer_core.probe import Measured
from autosteer_core.request import Request
from autosteer_core.second_look import SecondLook

T = TypeVar("T")

Gate = Callable[[Measured], bool | None]


@dataclass(frozen=True, slots=True)
class Work:
    """A request under its bundle.

    `gate` says whether the row is steered: at once, or when it is told what the bundle's probe read at prefill, and
    then None where the row is not to be decoded. `look` reads the growing answer of a row that is not
    steered. Work that is `alone` shares no pass with other rows, so that batch shape cannot decide what is read.
    """

    request: Request
    bundle: Bundle
    gate: Gate | bool
    look: SecondLook | None = None
    alone: bool = False

    def steered(self, measured: Measured) -> bool | None:
        """What the gate says of this."""
        return self.gate if isinstance(self.gate, bool) else self.gate(measured)

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.prompt.ids)


# Yields work, is sent its answer (None where the gate turned it away), returns its result.
Course: TypeAlias = Generator[Work, Answer | None, T]


def single(work: Work) -> Course[Answer | None]:
    """The course whose result is the answer to one piece of work."""
    return (yield work)
