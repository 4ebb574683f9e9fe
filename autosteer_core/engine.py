"""The engine port: items in, verdicts out, one each: in order, or as they finish."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Protocol, TypeVar

from autosteer_core.budget import Budget
from autosteer_core.encoding import Encoder
from autosteer_core.sampling import Sampling
from autosteer_core.values import GateAction, Item, Verdict

S = TypeVar("S")
T = TypeVar("T")


class Auditor(Protocol):
    """Judges items; a single bad item costs only its own row."""

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Risk only: allow, flag, review or error."""
        ...

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """What `audit` gives, as it finishes, each with the place of its item."""
        ...


class Engine(Protocol):
    """Judges or answers items; a single bad item costs only its own row."""

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """Risk only: allow, flag, review or error."""
        ...

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """Risk, then an answer, a refusal, a review or an error."""
        ...

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        """What `generate` gives, as it finishes, each with the place of its item; reads few `items` ahead."""
        ...


def in_order(stream: Iterable[tuple[int, T]]) -> list[T]:
    """A whole stream by place."""
    return [value for _, value in sorted(stream, key=itemgetter(0))]


def in_chunks(judge: Callable[[list[S]], Sequence[T]], rows: int) -> Callable[[Iterable[S]], Iterator[tuple[int, T]]]:
    """What judges lists, as what judges streams: at most `rows` at once, each result with its place."""

    def judged(source: Iterable[S]) -> Iterator[tuple[int, T]]:
        place, left = 0, iter(source)
        while chunk := list(islice(left, rows)):
            yield from enumerate(judge(chunk), place)
            place += len(chunk)

    return judged


def silent() -> None:
    """The pulse of an engine that nobody waits for."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`gate_action` None takes the bundle's own; `compare` adds unsteered and always-steered answers.

    Rows whose risk lies within `band` of the threshold are read again alone and marked borderline. `second_look`
    False leaves the growing answers unread, for comparison. `sampling` None takes the likeliest token. `slots` is
    how many rows the slot engine decodes at once. `pulse` is called between two steps, and what it raises ends the
    work: whoever holds a lease renews it there. `encoder` None makes prompts one by one, when they are needed.
    Decoding ends before the first of the strings in `stop`; a fixed refusal is not decoded. `logprobs` keeps the log
    of the probability of every token that the model chose. `compile` runs the slot engine's steps through
    `torch.compile`. `activations` keeps what the probe read of every item. `batch_rows` is how many rows plain
    `generate` decodes at once, `budget` what other forward passes over prompts may hold: one object for all that
    share a device.
    """

    batch_rows: int = 16
    max_new_tokens: int = 48
    gate_action: GateAction | None = None
    compare: bool = False
    band: float = 1e-3
    second_look: bool = True
    sampling: Sampling | None = None
    slots: int = 16
    budget: Budget = field(default_factory=Budget)
    pulse: Callable[[], None] = silent
    encoder: Encoder | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    compile: bool = False
    activations: bool = False
