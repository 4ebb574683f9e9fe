"""What a reviewer sees of an item: its text, where its pictures are, and why it is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from autosteer_core.flagging import Flagged
from autosteer_core.values import Item
from autosteer_core.visible_text import one_line
from pipelines.terminal import Terminal

KEYS = "h harmful   b benign   s skip   u undo   m more text   q quit"
_SHOWN_CHARS = 2000
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


@dataclass(frozen=True, slots=True)
class Page:
    """Writes to a terminal that obeys no text; pictures become files in a folder that only this person can read."""

    terminal: Terminal
    folder: Path

    def show(self, flagged: Flagged, item: Item, run_id: str, place: str) -> None:
        """Everything but the keys."""
        self.terminal.print(Rule(Text(one_line(f"{place}   {item.item_id}"))))
        about = Table.grid(padding=(0, 2))
        about.add_row("risk", _risk(flagged))
        about.add_row("why", ", ".join([*map(str, flagged.reasons), *(f"({name})" for name in flagged.judges)]))
        about.add_row("where", f"{flagged.source}, row {flagged.row}, run {run_id}")
        for picture in self._pictures(item):
            about.add_row("picture", str(picture))
        self.terminal.print(about)
        if item.system is not None:
            self.terminal.print(Panel(Text(_beginning(item.system)), title="system message"))
        self.terminal.print(Panel(Text(_beginning(item.text)), title="text"))

    def more(self, item: Item) -> None:
        """The whole text."""
        self.terminal.print(Panel(Text(item.text), title="whole text"))

    def ask(self) -> None:
        """The last line, after which a key counts."""
        self.terminal.say(KEYS, "bold")

    def _pictures(self, item: Item) -> Iterator[Path]:
        for number, image in enumerate(item.images):
            suffix = next((suffix for magic, suffix in _SUFFIXES.items() if image.startswith(magic)), ".bin")
            path = self.folder / f"picture-{item.row}-{number}{suffix}"
            path.write_bytes(image)
            yield path


@contextmanager
def review_page(terminal: Terminal) -> Iterator[Page]:
    """Its pictures are removed at the end."""
    with TemporaryDirectory(prefix="autosteer-review-") as folder:
        yield Page(terminal, Path(folder))


def _risk(flagged: Flagged) -> str:
    threshold = "-" if flagged.threshold is None else f"{flagged.threshold:.3f}"
    return f"{flagged.risk:.3f}, the gate opens at {threshold}; it was {flagged.action}"


def _beginning(text: str) -> str:
    if not text.strip():
        return "(no text)"
    left = len(text) - _SHOWN_CHARS
    return f"{text[:_SHOWN_CHARS]}\n... {left:,} characters more, m shows them" if left > 0 else text
