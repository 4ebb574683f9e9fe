"""What a chat template writes around the user's text, cut where control tokens fence it off."""

from collections.abc import Callable
from dataclasses import dataclass

from autosteer_core.backbones.user_text import UserText

_USER_TEXT = "\ue000"  # a private-use character that stands for the user's text while the template is rendered
_PADDED = f"\t{_USER_TEXT}\t"  # no template writes tabs of its own

Render = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """A prompt is head, lead, the user's text, tail and rest; head ends and rest begins with a control token.

    Lead, text and tail are encoded as one piece: a tokenizer merges across their seams, never across a control
    token. So the ids are those of the whole text, and yet no control token can come from the user.
    """

    head: str
    lead: str
    tail: str
    rest: str
    trims: bool

    def around(self, text: str) -> str:
        """The piece between the control tokens, trimmed where the template trims."""
        return f"{self.lead}{text.strip() if self.trims else text}{self.tail}"


def chat_frame(render: Render, user_text: UserText) -> ChatFrame:
    """The frame of a template; `render` gives the whole prompt for one user's text.

    Raises:
        ValueError: the template drops or repeats the user's text.
    """
    rendered = render(_PADDED)
    if rendered.count(_USER_TEXT) != 1:
        raise ValueError("the chat template does not write the user's text exactly once")
    trims = _PADDED not in rendered
    before, _, after = (rendered if not trims else render(_USER_TEXT)).partition(_USER_TEXT if trims else _PADDED)
    end, start = user_text.boundaries(before)[1], user_text.boundaries(after)[0]
    return ChatFrame(before[:end], before[end:], after[:start], after[start:], trims)
