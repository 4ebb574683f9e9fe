"""The README and the command help are true."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli import app
from pipelines.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_and_stands_in_the_readme(name: str) -> None:
    assert f"autosteer {name}" in README
    assert "Example:" in (COMMANDS[name].help or "")


def test_every_setting_stands_in_the_readme() -> None:
    missing = [name for name in Settings.model_fields if f"`{name}`" not in README]

    assert not missing


def test_the_readme_names_no_command_that_does_not_exist() -> None:
    named = set(re.findall(r"^ *autosteer ([a-z-]+)", README, re.MULTILINE))

    assert named <= set(COMMANDS)


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text("utf-8")

    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
