"""JSON that can be read in one way only: UTF-8, and no key twice in an object."""

import json
from typing import Any


class KeyTwice(ValueError):
    """Of two values under one key, every reader picks its own: `key` is the one that came again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} comes twice")
        self.key = key


def strict_json(data: bytes) -> Any:
    """The value; the caller bounds the size first.

    Raises:
        ValueError: not UTF-8, not JSON, nested too deeply, a number too long; KeyTwice for a repeated key.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyTwice(key[:60])
        found[key] = value
    return found
