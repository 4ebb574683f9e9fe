"""What a chat template writes around the texts of an item, cut where control tokens fence them off."""

from collections.abc import Callable
from dataclasses import dataclass

from autosteer_core.backbones.user_text import UserText

# Private-use characters stand for an item's texts while the template is rendered; no template writes tabs of its own.
_USER, _SYSTEM = "\ue000", "\ue001"

Render = Callable[[str], str]
RenderBoth = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Surrounded:
    """A piece between two control tokens: lead, a text of the item (trimmed where the template trims), tail.

    It is encoded as one: a tokenizer merges across its seams, never across a control token. So the ids are those of
    the whole text, and yet no control token can come from the item.
    """

    lead: str
    tail: str
    trims: bool

    def around(self, text: str) -> str:
        """The whole piece."""
        return f"{self.lead}{text.strip() if self.trims else text}{self.tail}"


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """A prompt is head, the piece with the user's text, and rest; head ends and rest begins with a control token.

    With a system message there is more before the head: `start`, which ends with a control token too, and the piece
    `above` with that message. Where no control token divides it from the user's text, it stands in that text's piece:
    then `above` is None and `shared` says so.
    """

    head: str
    user: Surrounded
    rest: str
    start: str = ""
    above: Surrounded | None = None
    shared: Surrounded | None = None

    @property
    def opening(self) -> str:
        """What the prompt begins with."""
        return self.head if self.above is None else self.start

    def around(self, text: str, system: str | None = None) -> str:
        """The piece with the user's text."""
        piece = self.user.around(text)
        return piece if self.shared is None else self.shared.around(system or "") + piece


def chat_frame(render: Render, user_text: UserText) -> ChatFrame:
    """The frame of a template; `render` gives the whole prompt for one user's text.

    Raises:
        ValueError: the template drops or repeats the user's text.
    """
    padded = render(_padded(_USER))
    trims = _trims(padded, _USER, "user's text")
    before, after = _cut(padded if not trims else render(_USER), _USER, trims)
    end, start = user_text.boundaries(before)[1], user_text.boundaries(after)[0]
    return ChatFrame(before[:end], Surrounded(before[end:], after[:start], trims), after[start:])


def system_frame(render: RenderBoth, user_text: UserText) -> ChatFrame:
    """The same with a system message before the user's text; `render` takes both.

    Raises:
        ValueError: the template drops or repeats one of the two, or writes them in another order.
    """
    padded = render(_padded(_SYSTEM), _padded(_USER))
    trims, user_trims = _trims(padded, _SYSTEM, "system message"), _trims(padded, _USER, "user's text")
    rendered = render(_SYSTEM if trims else _padded(_SYSTEM), _USER if user_trims else _padded(_USER))
    before, rest = _cut(rendered, _SYSTEM, trims)
    between, after = _cut(rest, _USER, user_trims)
    end, start = user_text.boundaries(before)[1], user_text.boundaries(after)[0]
    first, last = user_text.boundaries(between)
    tail = after[:start]
    if last == 0:
        user, shared = Surrounded("", tail, user_trims), Surrounded(before[end:], between, trims)
        return ChatFrame(before[:end], user, after[start:], shared=shared)
    above = Surrounded(before[end:], between[:first], trims)
    user = Surrounded(between[last:], tail, user_trims)
    return ChatFrame(between[first:last], user, after[start:], before[:end], above)


def _padded(text: str) -> str:
    return f"\t{text}\t"


def _trims(rendered: str, text: str, name: str) -> bool:
    if rendered.count(text) != 1:
        raise ValueError(f"the chat template does not write the {name} exactly once")
    return _padded(text) not in rendered


def _cut(rendered: str, text: str, trimmed: bool) -> tuple[str, str]:
    before, found, after = rendered.partition(text if trimmed else _padded(text))
    if not found:
        raise ValueError("the chat template writes the user's text before the system message")
    return before, after
