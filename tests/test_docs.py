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


def test_every_error_code_is_explained_and_every_explained_one_exists() -> None:
    root = Path(__file__).parent.parent
    sources = [
        file for name in ("autosteer_core", "infra", "workers", "pipelines") for file in (root / name).rglob("*.py")
    ]
    used = {code for file in sources for code in re.findall(r'"(E_[A-Z0-9_]+[A-Z0-9])"', file.read_text("utf-8"))}

    assert used == set(re.findall(r"`(E_[A-Z0-9_]+)`", (root / "docs" / "errors.md").read_text("utf-8")))


def test_every_test_that_the_security_page_names_exists() -> None:
    root = Path(__file__).parent.parent
    named = set(re.findall(r"`(tests/[a-z_/]+\.py)`", (root / "SECURITY.md").read_text("utf-8") + README))

    assert len(named) > 20
    assert not [path for path in named if not (root / path).exists()]
