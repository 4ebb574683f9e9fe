"""Fetch pictures from hosts that a person named: each at the address that was checked, within a time and a size."""

import socket
import ssl
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any, cast

from autosteer_core.errors import BadItem, first_line
from infra.address import shown
from infra.deadline import Deadline, SocketUntil
from infra.public_address import Address, is_public
from infra.row_to_item import MAX_IMAGE_BYTES
from infra.web_address import WebHost, taken_apart, web_host

LookUp = Callable[[str, int], Sequence[str]]

_SECONDS = 10.0  # for one picture, from the name to the last byte


def look_up(name: str, port: int) -> list[str]:
    """The addresses of a name, as the system tells them."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class WebPictures:
    """`may_reach` decides about every address of a host before the first packet is sent to it.

    A name is looked up once for each picture, and the connection goes to what was found then: an answer that changes
    in between changes nothing. No redirect is followed, no proxy is asked and no compressed body is taken.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        look_up: LookUp = look_up,
        may_reach: Callable[[Address], bool] = is_public,
        seconds: float = _SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = {web_host(entry) for entry in hosts}
        self._look_up = look_up
        self._may_reach = may_reach
        self._seconds = seconds
        self._tls = tls or ssl.create_default_context()

    def fetch(self, address: str) -> bytes:
        """The bytes, an image's most at most.

        Raises:
            BadItem: E_URI_FORBIDDEN, E_IMAGE_NOT_FOUND, E_IMAGE_TOO_LARGE, E_FETCH_TIME or E_FETCH_FAILED.
        """
        host, target = self._allowed(address)
        deadline = Deadline(self._seconds)
        try:
            places = self._places(host, address, deadline)
            with self._connected(host, places, deadline) as wire:
                wire.sendall(_request(host, target))
                # It only asks for `makefile`, and that is where all reads get their one deadline.
                reply = HTTPResponse(cast(Any, SocketUntil(wire, deadline)))
                reply.begin()
                return _body(reply, address)
        except (OSError, HTTPException, ValueError) as error:
            raise _failed(address, error, deadline) from error

    def _allowed(self, address: str) -> tuple[WebHost, str]:
        found = taken_apart(address)
        if found is None:
            raise _forbidden(address, "is not a plain address of a host and a path, without user name or password")
        if found[0] not in self._hosts:
            raise _forbidden(address, "has a host, scheme or port that is not in the setting fetch_hosts")
        return found

    def _places(self, host: WebHost, address: str, deadline: Deadline) -> list[str]:
        """One address that may not be reached condemns the name: it is not for us to pick the harmless ones."""
        places = list(deadline.wait_for(lambda: self._look_up(host.name, host.port)))
        if not places:
            raise OSError("the name has no address")
        if not all(self._may_reach(ip_address(place)) for place in places):
            raise _forbidden(address, "leads to an address that is private, local or otherwise special")
        return places

    def _connected(self, host: WebHost, places: Sequence[str], deadline: Deadline) -> socket.socket:
        wire = _first_that_answers(places, host.port, deadline)
        if host.scheme == "http":
            return wire
        try:
            wire.settimeout(deadline.left())  # of the handshake as a whole
            return self._tls.wrap_socket(wire, server_hostname=host.name)
        except BaseException:
            wire.close()
            raise


def _first_that_answers(places: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    for place in places[:-1]:
        try:
            return socket.create_connection((place, port), deadline.left())
        except OSError:
            continue
    return socket.create_connection((places[-1], port), deadline.left())


def _request(host: WebHost, target: str) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host.header}",
        "User-Agent: autosteer",
        "Accept: image/jpeg, image/png, image/webp",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _body(reply: HTTPResponse, address: str) -> bytes:
    if 300 <= reply.status < 400:
        there = shown(reply.headers.get("Location") or "nowhere")
        raise _forbidden(address, f"redirects to {there}, which is not followed")
    if reply.status != 200:
        raise BadItem(
            "E_IMAGE_NOT_FOUND", f"image {shown(address)} is answered with status {reply.status}: check the address"
        )
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise OSError(f"the body is encoded as {encoding!r:.40} although that was not asked for")
    return _bytes(reply, address)


def _bytes(reply: HTTPResponse, address: str) -> bytes:
    data = b"" if (reply.length or 0) > MAX_IMAGE_BYTES else reply.read(MAX_IMAGE_BYTES + 1)
    if len(data) > MAX_IMAGE_BYTES or (reply.length or 0) > MAX_IMAGE_BYTES:
        raise BadItem("E_IMAGE_TOO_LARGE", f"image {shown(address)} has more than {MAX_IMAGE_BYTES} bytes")
    if reply.length:
        raise OSError(f"the body ends {reply.length} bytes too early")
    return data


def _forbidden(address: str, why: str) -> BadItem:
    return BadItem("E_URI_FORBIDDEN", f"image {shown(address)} {why}: name another, or give the bytes")


def _failed(address: str, error: Exception, deadline: Deadline) -> BadItem:
    if deadline.passed():
        return BadItem(
            "E_FETCH_TIME", f"image {shown(address)} did not arrive within {deadline.seconds:g} s: copy it to a root"
        )
    return BadItem(
        "E_FETCH_FAILED",
        f"image {shown(address)} cannot be fetched ({first_line(error)[:200]}): check the host and its certificate",
    )
