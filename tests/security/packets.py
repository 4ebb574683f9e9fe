"""What this process sends into any network, told by the interpreter before it happens, and kept on loopback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
_WATCHING: list[list[tuple[str, Any]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and _WATCHING:
        place = arguments[0] if event.startswith("socket.get") else arguments[-1]
        for seen in _WATCHING:
            seen.append((event.removeprefix("socket."), place))
        if event == "socket.connect" and not str(place[0]).startswith("127."):
            raise PermissionError("no test may reach anything but loopback")


sys.addaudithook(_hook)  # a hook stays for good, so there is one


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """(call, address or name) of every connection, datagram and look-up in here."""
    seen: list[tuple[str, Any]] = []
    _WATCHING.append(seen)
    try:
        yield seen
    finally:
        _WATCHING.remove(seen)
