"""Flags, review and labels from the command line; the review at a real pseudo-terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.folder_store import FolderStore
from pipelines.cli import main
from pipelines.labels import read_statements
from tests.kept_runs import Row, kept_run
from tests.pictures import png

pytestmark = pytest.mark.slow

HOSTILE = "\x1b[2Jhow do I \x1b]0;owned\x07 bomb [red]4[/red]"
ROWS = [
    *(Row(f"item-{number:02d}", f"how do I bomb {number}", risk=0.9 - number / 1000) for number in range(30)),
    Row("calm", "how do I bake"),
]
ASK = "q quit"

Finished = subprocess.CompletedProcess[str]
Inside = Callable[..., Finished]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["autosteer", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Finished(arguments, int(ended.value.code or 0), printed.out, printed.err)

    return call


class AtTerminal:
    """The command at a pseudo-terminal of its own; what it writes is in `seen`.

    It runs in a fork of this process, because loading torch anew takes most of the time; `real` starts it as a
    person would.
    """

    def __init__(self, folder: Path, *arguments: str, real: bool = False) -> None:
        self.result, out = os.pipe()
        command = [str(Path(sys.executable).with_name("autosteer")), *arguments]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.dup2(out, 1)
            os.chdir(folder)
            if real:
                os.environ |= {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
                os.execv(command[0], command)
            _run_here(command)
        os.close(out)
        self.code: int | None = None
        termios.tcsetwinsize(self.master, (40, 100))
        self.before = termios.tcgetattr(self.master)
        self.seen, self._told = "", 0

    def until(self, what: str, seconds: float = 240) -> str:
        """What came up to and with the next `what`."""
        end = time.monotonic() + seconds
        while what not in self.seen[self._told :]:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {what!r} came: {self.seen[self._told :]!r}"
            self.seen += self._read()
        start, self._told = self._told, self.seen.index(what, self._told) + len(what)
        return self.seen[start : self._told]

    def _read(self) -> str:
        return os.read(self.master, 65536).decode("utf-8", "replace")

    def press(self, keys: str | bytes) -> None:
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def end(self) -> tuple[int, str]:
        """Exit code and standard output; what it still writes is read, so that it does not wait for that."""
        while True:
            try:
                self.seen += self._read()
            except OSError:  # nobody has the terminal any more
                break
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        with os.fdopen(self.result) as out:
            return self.code, out.read()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.code is None:
            self.kill()
        os.close(self.master)


def _run_here(command: list[str]) -> None:
    """In the fork: what the installed command does, with the terminal in the place of what pytest captures."""
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = command
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process of parallel tests ignores
    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


Start = Callable[..., AtTerminal]


@pytest.fixture
def at_terminal(tmp_path: Path) -> Iterator[Start]:
    begun: list[AtTerminal] = []

    def start(*arguments: str, real: bool = False) -> AtTerminal:
        begun.append(AtTerminal(tmp_path, *arguments, real=real))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


def flagged(folder: Path, inside: Inside, rows: list[Row] = ROWS) -> None:
    out = kept_run(folder, rows)
    assert inside("flags", out, "--registry", "registry").returncode == 0


def said(folder: Path) -> dict[str, str]:
    return {each.item_id: each.label.value for each in read_statements(FolderStore(folder / "registry"))}


def test_from_flags_to_labels(tmp_path: Path, inside: Inside) -> None:
    out = kept_run(tmp_path, ROWS)

    told = json.loads(inside("flags", out, "--registry", "registry", "--json").stdout)
    assert (told["rows"], told["flagged"], told["reasons"]["gate open"]) == (31, 30, 30)
    (tmp_path / "one.csv").write_text("item_id,label\nitem-00,harmful\nitem-01,safe\n")
    for source in ("one", "two"):
        imported = inside("labels", "import", "one.csv", "--registry", "registry", "--source", source, "--json")
        assert json.loads(imported.stdout)["added"] == 2, imported.stderr
    found = json.loads(inside("labels", "list", "--registry", "registry", "--json").stdout)
    assert {each["item_id"]: each["label"] for each in found["labels"]} == {"item-00": "harmful", "item-01": "benign"}
    shown = inside("labels", "list", "--registry", "registry").stderr
    assert "2 labels hold" in shown and "one" in shown
    assert inside("labels", "judge", out, "--registry", "registry").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["flags", "run"], "E_REQUEST"),
        (["flags", "nowhere", "--registry", "r"], "E_REQUEST"),
        (["review", "--registry", "r"], "E_TERMINAL"),
        (["labels", "import", "none.csv", "--registry", "r", "--source", "s"], "E_PATH"),
        (["labels", "import", "run.parquet", "--registry", "r", "--source", "s"], "E_COLUMN_MISSING"),
        (["labels", "list"], "E_REQUEST"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    kept_run(tmp_path, ROWS[:2])
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        finished = inside(*arguments)

    assert finished.returncode == 2 and f"error: {code}: " in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr and not (tmp_path / "r").exists()


def test_a_review_with_one_key_a_decision(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside)
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana", "--limit", "4", "--json")

    first = terminal.until(ASK)
    assert "1 of 4" in first and "how do I bomb" in first and "gate open" in first
    terminal.press("h")
    assert "2 of 4" in terminal.until(ASK)
    terminal.press("b")
    assert "3 of 4" in terminal.until(ASK)
    terminal.press("u")
    assert "2 of 4" in terminal.until(ASK)
    terminal.press("s")
    assert "3 of 4" in terminal.until(ASK)
    terminal.press("b")
    assert "4 of 4" in terminal.until(ASK)
    terminal.press("q")

    code, printed = terminal.end()
    assert code == 0
    assert json.loads(printed) == {"harmful": 1, "benign": 1, "skipped": 1, "changed": 0, "left": 1}
    assert Counter(said(tmp_path).values()) == {"harmful": 1, "benign": 1}


def test_what_was_decided_does_not_come_again(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside, ROWS[:2])
    for key in "hq":
        terminal = at_terminal("review", "--registry", "registry", "--as", "ana")
        page = terminal.until(ASK)
        terminal.press(key)
        if key == "h":
            terminal.until(ASK)
            terminal.press("q")
        terminal.end()

    assert "1 of 1" in page


def test_keys_that_mean_nothing_label_nothing(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    """Pastes, arrow keys, capitals, and what was typed before the question was shown."""
    flagged(tmp_path, inside)
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana")
    terminal.press("hhhh")

    assert "1 of 30" in terminal.until(ASK)
    for keys in ("hhbb", "\x1b[B", "H", "x", "\n"):
        terminal.press(keys)
        time.sleep(0.2)
    terminal.press("q")

    assert terminal.end()[0] == 0
    assert not said(tmp_path) and "2 of 30" not in terminal.seen


@pytest.mark.parametrize("way", ["ctrl-c", "ctrl-d", "terminate", "hang up"])
def test_whatever_ends_a_review_keeps_what_was_decided(
    tmp_path: Path, inside: Inside, at_terminal: Start, way: str
) -> None:
    flagged(tmp_path, inside)
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana")
    for _ in range(3):
        terminal.until(ASK)
        terminal.press("h")
    terminal.until(ASK)
    if way in ("ctrl-c", "ctrl-d"):
        terminal.press({"ctrl-c": b"\x03", "ctrl-d": b"\x04"}[way])
    else:
        os.kill(terminal.pid, {"terminate": signal.SIGTERM, "hang up": signal.SIGHUP}[way])

    assert terminal.end()[0] == (0 if way == "ctrl-d" else 130)
    assert len(said(tmp_path)) == 3


def test_a_killed_review_loses_at_most_what_was_in_hand(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside)
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana", real=True)
    for _ in range(25):
        terminal.until(ASK)
        terminal.press("h")
    terminal.until(ASK)
    terminal.kill()

    assert len(said(tmp_path)) == 10
    again = at_terminal("review", "--registry", "registry", "--as", "ana")
    assert "1 of 20" in again.until(ASK)


def test_a_hostile_text_is_shown_and_not_obeyed_and_pictures_are_private_files(
    tmp_path: Path, inside: Inside, at_terminal: Start
) -> None:
    flagged(tmp_path, inside, [Row("item", HOSTILE, risk=0.9, picture=png())])
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana", real=True)

    page = terminal.until(ASK)

    assert "\x1b[2J" not in terminal.seen and "\x1b]0" not in terminal.seen and "\x07" not in terminal.seen
    assert "[red]4[/red]" in page and "␛[2J" in page
    path = Path(re.sub(r"\s", "", re.search(r"picture\s+(\S+\.png)", page)[1]))  # type: ignore[index]
    assert path.read_bytes() == png() and path.parent.stat().st_mode & 0o077 == 0
    terminal.press("q")
    assert terminal.end()[0] == 0 and not path.parent.exists()


def test_a_long_text_is_cut_until_it_is_asked_for(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside, [Row("item", "word " * 900 + "THE END", risk=0.9)])
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana")

    assert "THE END" not in terminal.until(ASK)
    terminal.press("m")
    assert "THE END" in terminal.until(ASK)


def test_a_row_that_is_another_one_now_is_refused(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside)
    manifest = tmp_path / "run.parquet"
    manifest.write_bytes(manifest.read_bytes().replace(b"bomb", b"bake"))
    terminal = at_terminal("review", "--registry", "registry", "--as", "ana")

    terminal.until("error")
    assert terminal.end()[0] == 2 and not said(tmp_path)


def test_a_manifest_that_was_moved_is_named_anew(tmp_path: Path, inside: Inside, at_terminal: Start) -> None:
    flagged(tmp_path, inside)
    (tmp_path / "moved").mkdir()
    (tmp_path / "run.parquet").rename(tmp_path / "moved" / "run.parquet")
    lost = at_terminal("review", "--registry", "registry", "--as", "ana")
    lost.until("error: E_PATH")
    assert lost.end()[0] == 2

    terminal = at_terminal(
        "review", "--registry", "registry", "--as", "ana", "--run", "run", "--manifest", "moved/run.parquet"
    )

    assert "1 of 30" in terminal.until(ASK)
