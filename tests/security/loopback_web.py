"""Web servers on loopback addresses that answer as they are told, and count who came."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import create_server, socket, timeout
from threading import Event, Thread

Answer = Callable[[socket, Event], None]


@dataclass
class Server:
    """One address; `requests` are the first lines of what was asked, `connections` counts also who asked nothing."""

    host: str
    answer: Answer
    tls: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    over: Event = field(default_factory=Event)


@contextmanager
def serve(host: str, answer: Answer, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(host, answer, tls)
    with create_server((host, port)) as listener:
        server.port = listener.getsockname()[1]
        listener.settimeout(0.05)
        thread = Thread(target=_accept, args=(server, listener), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            thread.join()


def _accept(server: Server, listener: socket) -> None:
    while not server.over.is_set():
        with suppress(timeout):
            wire, _ = listener.accept()
            server.connections += 1
            Thread(target=_talk, args=(server, wire), daemon=True).start()


def _talk(server: Server, wire: socket) -> None:
    with suppress(OSError):
        wire.settimeout(10)
        if server.tls:
            wire = server.tls.wrap_socket(wire, server_side=True)
        with wire:
            asked = wire.recv(2**16)
            server.requests.append(asked.partition(b"\r\n")[0].decode("latin-1"))
            server.headers.append(asked)
            server.answer(wire, server.over)


def reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Answer:
    """A whole reply that then hangs up; `length` is what it says of the body."""
    said = len(body) if length is None else length

    def answer(wire: socket, over: Event) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {said}", "Connection: close", *headers, "", ""]
        wire.sendall("\r\n".join(lines).encode("latin-1") + body)

    return answer


def redirect(there: str) -> Answer:
    return reply(b"", f"Location: {there}", status="302 Found")


def raw(start: bytes, again: bytes = b"", pause: float = 0.0) -> Answer:
    """`start`, and then `again` for ever, with a pause between."""

    def answer(wire: socket, over: Event) -> None:
        wire.sendall(start)
        while not over.wait(pause if again else 10):
            wire.sendall(again)

    return answer
