"""Ray is not started without a token that only its owner can read."""

import os
from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from workers.ray_access import prepare, require_token

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of Ray, and a state folder of its own."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the test leaves is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    prepare()


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    require_token()
    first = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    token = first.read_text()
    del os.environ["RAY_AUTH_TOKEN_PATH"]
    require_token()

    assert first.is_relative_to(tmp_path) and first.stat().st_mode & 0o777 == 0o600
    assert len(token) == 64 and Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text() == token
    assert not any(token in value for value in os.environ.values())


@pytest.mark.parametrize("mode", ["disabled", "k8s", ""])
def test_another_mode_is_refused(mode: str) -> None:
    os.environ["RAY_AUTH_MODE"] = mode

    assert refused().startswith("Ray must ask for a token that only you can read; RAY_AUTH_MODE is")


def test_a_token_in_the_environment_is_refused_and_not_told() -> None:
    os.environ["RAY_AUTH_TOKEN"] = "s3cret" * 8

    assert "every child process inherits" in refused() and "s3cret" not in refused()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("t" * 32, 0o644, "mode 0644"),
        ("t" * 32, 0o640, "mode 0640"),
        ("", 0o600, "empty"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_token_file_that_others_can_read_or_that_holds_none_is_refused(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)

    assert said in refused()


def refused() -> str:
    with pytest.raises(UserMistake) as error:
        require_token()
    assert error.value.code == "E_RAY_AUTH"
    return str(error.value)
