"""What strangers wrote, on a terminal and in a log: shown, not obeyed."""

import sys
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from autosteer_core.visible_text import one_line, visible
from pipelines.cli import main
from pipelines.terminal import Terminal

ESCAPES = [
    "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "\x9b31m", "a\rb",
    "\x08\x08", "[red]markup[/red]", "[/x]", "[link=file:///etc/passwd]x[/link]", ":bomb:",
    "\u202egnp.exe", "\x00\x7f",
]  # fmt: skip


def terminal() -> tuple[Terminal, StringIO]:
    page = StringIO()
    return Terminal(file=page, force_terminal=True, width=60, color_system=None, legacy_windows=False), page


@pytest.mark.parametrize("hostile", ESCAPES)
def test_text_in_a_table_a_title_and_a_line_is_shown_and_not_obeyed(hostile: str) -> None:
    console, page = terminal()
    table = Table("item", hostile, title=hostile, show_edge=False)
    table.add_row(hostile, "x")

    console.print(table)
    console.print(hostile)
    console.say(f"file {hostile} is bad")

    # Rich's own styles are off (no colour system), so that every escape sequence would be the text's.
    written = "".join(
        piece for piece in page.getvalue().replace("\x1b[1m", "").replace("\x1b[3m", "").split("\x1b[0m")
    )
    assert not {char for char in written if char in "\x1b\x9b\r\x08\x07\x00\x7f\u202e"}
    if hostile.startswith("["):
        assert hostile in page.getvalue()


def test_plain_rich_obeys_what_stands_in_a_text() -> None:
    """The control of the test above."""
    page = StringIO()
    Console(file=page, width=60).print("\x1b[2J")

    assert "\x1b[2J" in page.getvalue()


@given(st.text(st.characters(codec=None), max_size=60))
def test_one_line_stays_one_line_that_every_log_can_write(text: str) -> None:
    shown = one_line(f"before {text} after")

    assert len(shown.splitlines()) == 1 and len(shown) == len(f"before {text} after")
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert shown.encode().decode() == shown
    assert visible(text).count("\n") == text.count("\n")


def test_an_error_is_one_line_whatever_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = "nowhere\nerror: E_FORGED: all is well\x1b[2J"
    monkeypatch.setattr(sys, "argv", ["autosteer", "status", forged])
    with pytest.raises(SystemExit):
        main()

    said = capsys.readouterr().err
    assert "\x1b[2J" not in said
    assert sum(line.startswith("error:") for line in said.splitlines()) == 1
