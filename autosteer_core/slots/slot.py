"""One row in flight: what it was asked, what it has answered, and where it stands in its slot."""

from dataclasses import dataclass, field
from random import Random

from autosteer_core.probe import Probe
from autosteer_core.stopping import Endings
from autosteer_core.work import Work


@dataclass(slots=True)
class Slot:
    """`number` is the place of its course; `place` is where the next token is written, `shift` how far its rotary
    position lies from there. `text` is what a stop string left of the answer.
    """

    number: int
    work: Work
    steered: bool
    place: int
    shift: int
    feed: int
    ids: list[int] = field(default_factory=list)
    risks: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str | None = None
    steered_tokens: int = 0
    finish_reason: str | None = None
    random: Random = field(default_factory=Random)

    @property
    def edited(self) -> bool:
        """Whether the coming token is steered: the head acts on the first `head.tokens` of an answer."""
        limit = self.work.bundle.head.tokens
        return self.steered and (limit is None or self.steered_tokens < limit)

    @property
    def due(self) -> Probe | None:
        """The probe that reads the token about to be fed, where its turn has come."""
        look = None if self.steered else self.work.look
        return look.probe if look and self.ids and len(self.ids) % look.every == 0 else None

    @property
    def said(self) -> list[int]:
        """Prompt and answer so far."""
        return [*self.work.request.prompt.ids, *self.ids]

    def take(self, token: int, endings: Endings, logprob: float | None = None) -> None:
        """One step done: the fed token is in the slot, `token` comes next."""
        self.steered_tokens += self.edited
        self.place += 1
        strings = self.work.request.stop
        self.text = endings.cut([*self.ids, token], strings) if strings else None
        if self.text is not None or endings.at(token, strings):
            self.finish_reason = "stop"
            return
        self.feed = token
        self.ids.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if len(self.ids) >= self.work.request.max_new_tokens:
            self.finish_reason = "length"
