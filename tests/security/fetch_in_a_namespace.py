"""Fetch every hostile address in a network of our own, and print what the kernel counted; `careless`: unchecked."""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

from autosteer_core.errors import BadItem
from infra.public_address import is_public
from infra.web_address import taken_apart
from infra.web_pictures import WebPictures
from tests.security.hostile_addresses import disguised, look_up, metadata, neighbours

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP, b""))


def _counted() -> dict[str, int]:
    """Connections begun and datagrams sent in this network namespace since it was made."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text("ascii").splitlines()]
    names = {f"{head[0]}{name}": value for head, row in zip(lines[::2], lines[1::2], strict=True)
             for name, value in zip(head[1:], row[1:], strict=True)}  # fmt: skip
    sent = Path("/proc/net/dev").read_text("ascii").partition("lo:")[2].split()[9]
    return {"connections": int(names["Tcp:ActiveOpens"]), "datagrams": int(names["Udp:OutDatagrams"]),
            "packets": int(sent)}  # fmt: skip


def main(careless: bool) -> None:
    _loopback_up()
    codes: dict[str, int] = {}
    for address in metadata() + neighbours(9) + disguised(9, "friend.example"):
        found = taken_apart(address)
        hosts = [f"{found[0].scheme}://{found[0].host}:{found[0].port}"] if found else []
        web = WebPictures(hosts, look_up, (lambda _: True) if careless else is_public, seconds=0.2)
        try:
            web.fetch(address)
        except BadItem as error:
            codes[error.code] = codes.get(error.code, 0) + 1
    print(json.dumps({"codes": codes} | _counted()))


if __name__ == "__main__":
    main("careless" in sys.argv)
