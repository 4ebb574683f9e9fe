"""Reading a settings file from an unknown hand: names with plain values, and no secrets that others can read."""

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from autosteer_core.errors import UserMistake

_MOST_BYTES = 2**16
_SETTINGS = "E_SETTING"


class _PlainLoader(yaml.SafeLoader):
    """YAML without tags, and without aliases: a file of a few lines can stand for gigabytes by them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias, which settings never need")
        return super().compose_node(parent, index)


def read_settings_file(file: Path) -> dict[str, Any]:
    """Setting -> value as the file has it; which settings there are is not known here.

    Raises:
        UserMistake: E_SETTING: it cannot be read, is too large, or is no mapping in TOML or YAML; E_SECRET: it holds
            a password and others can read it.
    """
    try:
        data = _bytes(file)
        text = data.decode()
        values = tomllib.loads(text) if file.suffix == ".toml" else yaml.load(text, _PlainLoader)
    except OSError as error:
        raise _refused(f"settings file {file} cannot be read ({error.strerror}): check --config") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise _refused(f"settings file {file} is not valid TOML or YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values or {}, dict) or not all(isinstance(name, str) for name in values or {}):
        raise _refused(f"settings file {file} holds a {type(values).__name__}, expected names with values")
    found: dict[str, Any] = dict(values or {})
    _refuse_open_secrets(file, found)
    return found


def _bytes(file: Path) -> bytes:
    if not file.is_file():  # a pipe or a device could be read for ever
        raise FileNotFoundError(2, "it is no file")
    with file.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise _refused(f"settings file {file} has more than {_MOST_BYTES} bytes: a file of settings has a few lines")
    return data


def _refuse_open_secrets(file: Path, values: dict[str, Any]) -> None:
    """The value is not told: an error ends in logs."""
    queue = values.get("queue")
    if isinstance(queue, str) and has_password(queue) and file.stat().st_mode & 0o077:
        raise UserMistake(
            f"settings file {file} holds the password of `queue` and has mode {file.stat().st_mode & 0o777:04o}: "
            "give it by the variable AUTOSTEER_QUEUE, or chmod 600 the file",
            "E_SECRET",
        )


def has_password(address: str) -> bool:
    """Also where the address is damaged: what stands before an @ may be one."""
    try:
        return urlsplit(address).password is not None
    except ValueError:
        return "@" in address


def _refused(sentence: str) -> UserMistake:
    return UserMistake(sentence, _SETTINGS)
