"""The terminal that every command writes to: it shows what strangers wrote and obeys none of it."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from autosteer_core.visible_text import one_line, visible


class Terminal(Console):
    """Rich escapes nothing by itself: here no text is markup, and control characters come out as marks.

    Colours and the cursor's moves are Rich's own; they never come from a text.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What Rich is about to write, piece by piece."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=visible(piece.text))

    def say(self, line: str, style: str = "") -> None:
        """One line, whatever stands in it; a long one is wrapped."""
        self.print(Text(one_line(line), style))
