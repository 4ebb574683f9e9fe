"""An http address, taken apart strictly: two readers of it can never mean two hosts."""

import re
from dataclasses import dataclass

from autosteer_core.errors import UserMistake

_HOST = r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_ADDRESS = re.compile(rf"(?P<scheme>https?)://{_HOST}(?P<target>/[!-\"$-\[\]-~]*)?", re.IGNORECASE)
_ENTRY = re.compile(rf"(?:(?P<scheme>https?)://)?{_HOST}")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebHost:
    """Who is asked: nothing else of an address decides where a packet goes."""

    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """The name to resolve and to find in the certificate."""
        return self.host.strip("[]")

    @property
    def header(self) -> str:
        """The value of the `Host:` header."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


def web_host(entry: str) -> WebHost:
    """An entry of the setting: `host`, `host:port`, or `http://host` where TLS is not wanted.

    Raises:
        UserMistake: E_URI: it is not of that form.
    """
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise UserMistake(
            f"{entry!r:.100} in fetch_hosts is no host: write example.com, example.com:8443 or http://example.com, "
            "in lower case and without a path",
            "E_URI",
        )
    return _host(found)


def taken_apart(address: str) -> tuple[WebHost, str] | None:
    """The host and what to ask it for; None where there is a login, a backslash, a blank, a control character, or a
    character beyond ASCII. A fragment is not sent, as in a browser."""
    found = _ADDRESS.fullmatch(address.partition("#")[0])
    return (_host(found), found["target"] or "/") if found else None


def _host(found: re.Match[str]) -> WebHost:
    scheme = (found["scheme"] or "https").lower()
    return WebHost(scheme, found["host"].lower(), int(found["port"] or _PORTS[scheme]))
