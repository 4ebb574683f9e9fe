"""Old libraries are refused at the start, and pip would not have installed them."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from autosteer_core.errors import UserMistake
from pipelines.versions import FLOORS, require_versions

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def test_what_is_installed_here_is_new_enough() -> None:
    require_versions()


@pytest.mark.parametrize("name", FLOORS)
def test_a_version_below_its_floor_is_refused_with_the_reason(name: str) -> None:
    floor, reason = FLOORS[name]

    with pytest.raises(UserMistake, match=f"{name} 0.4.9 is installed, expected {floor} or newer") as refused:
        require_versions(lambda asked: "0.4.9" if asked == name else "9999")

    assert refused.value.code == "E_VERSION"
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", FLOORS)
def test_the_floors_are_those_that_pip_is_told(name: str) -> None:
    [told] = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name.lower() == name]

    assert Version("0.0.1") not in told.specifier
    assert f">={FLOORS[name][0]}" in str(told.specifier)
