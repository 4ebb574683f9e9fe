"""What the operator guide names exists."""

import re

from typer.main import get_command

from pipelines.cli import app
from tests.deploy.files import DEPLOY

ROOT = DEPLOY.parents[1]
GUIDE = (ROOT / "docs" / "operating.md").read_text("utf-8")


def test_every_file_that_the_guide_names_is_there_and_every_one_that_is_there_is_named() -> None:
    named = set(re.findall(r"\w[\w./-]*\.(?:yaml|yml|json|lock|txt)\b|Containerfile", GUIDE))
    places = (ROOT, DEPLOY, DEPLOY / "kubernetes", DEPLOY / "monitoring")
    ours = {file.name for file in DEPLOY.rglob("*") if file.is_file() and file.suffix != ".dockerignore"}

    assert not [name for name in named if not any((place / name).is_file() for place in places)]
    assert ours <= {name.rpartition("/")[2] for name in named}


def test_every_command_that_the_guide_names_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:^|`)autosteer ([a-z][a-z-]+)", GUIDE, re.MULTILINE))

    assert {"status", "verify", "keys", "clean"} <= named <= set(commands)


def test_every_block_says_whether_a_test_runs_it() -> None:
    assert set(re.findall(r"^```(\w*)\n", GUIDE, re.MULTILINE)) - {""} == {"bash", "console", "sql"}
