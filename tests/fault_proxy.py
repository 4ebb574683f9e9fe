"""An HTTP proxy that fails on request: it loses replies, is busy, hangs, or spoils what it carries."""

import os
import random
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

Reply = tuple[int, list[tuple[str, str]], bytes]


class Fault(StrEnum):
    """One way for a request to go wrong. The first four never reach the server."""

    BUSY = "answered with 503"
    HANG = "never answered"
    RESET_BEFORE = "connection reset before it was applied"
    REFUSE = "answered as `Faults.answer` says"
    RESET_AFTER = "connection reset after it was applied"
    LOSE_REPLY = "applied, and the reply lost"
    DELAY = "answered late"
    SPOIL_REQUEST = "a bit of its body flipped"
    SPOIL_REPLY = "a bit of the reply's body flipped"
    SHORT_BODY = "half of the reply's body sent"


@dataclass
class Faults:
    """Which requests go wrong: the next ones, in this order, then each with a probability; and what was done."""

    methods: set[str] = field(default_factory=lambda: {"PUT"})
    coming: list[Fault] = field(default_factory=list)
    odds: dict[Fault, float] = field(default_factory=dict)
    answer: tuple[int, bytes] = (503, b"")
    delay_seconds: float = 0.05
    seed: int = 0
    requests: int = 0
    done: Counter[Fault] = field(default_factory=Counter)
    over: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self._luck = random.Random(self.seed)
        self._lock = Lock()

    def draw(self, method: str) -> Fault | None:
        """What goes wrong with this request."""
        with self._lock:
            if method not in self.methods:
                return None
            self.requests += 1
            unlucky = (fault for fault, odds in self.odds.items() if self._luck.random() < odds)
            fault = self.coming.pop(0) if self.coming else next(unlucky, None)
            self.done.update([fault] if fault else [])
            return fault

    def flipped(self, body: bytes) -> bytes:
        """The body with one bit changed, anywhere; an empty one has none."""
        if not body:
            return body
        at = self._luck.randrange(len(body) * 8)
        return body[: at // 8] + bytes([body[at // 8] ^ (1 << at % 8)]) + body[at // 8 + 1 :]


@contextmanager
def serve_faults(endpoint: str, faults: Faults) -> Iterator[str]:
    """The proxy's address, while it runs in front of `endpoint`."""
    handler = type("Handler", (_Handler,), {"target": urlsplit(endpoint).netloc, "faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    faults.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    target: str
    faults: Faults
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small body waits 40 ms for the peer to confirm the head

    def _pass_on(self) -> None:
        body = self._request_body()
        fault = self.faults.draw(self.command)
        if not self._kept_from_the_server(fault):
            if fault == Fault.SPOIL_REQUEST:
                body = self.faults.flipped(body)
            self._answer(fault, self._forward(body))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _kept_from_the_server(self, fault: Fault | None) -> bool:
        match fault:
            case Fault.BUSY:
                self._reply((503, [], b""))
            case Fault.REFUSE:
                self._reply((self.faults.answer[0], [], self.faults.answer[1]))
            case Fault.HANG:
                self.close_connection = self.faults.over.wait(60)
            case Fault.RESET_BEFORE:
                self._reset()
            case _:
                return False
        return True

    def _answer(self, fault: Fault | None, reply: Reply) -> None:
        status, headers, body = reply
        match fault:
            case Fault.LOSE_REPLY:
                self.close_connection = True
            case Fault.RESET_AFTER:
                self._reset()
            case Fault.SHORT_BODY:
                self._reply((status, headers, body[: len(body) // 2]), promised=len(body))
                self.close_connection = True
            case Fault.SPOIL_REPLY:
                self._reply((status, headers, self.faults.flipped(body)))
            case _:
                self.faults.over.wait(self.faults.delay_seconds if fault == Fault.DELAY else 0)
                self._reply(reply)

    def _reset(self) -> None:
        """The peer gets an RST at once, instead of an end of the stream."""
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def _request_body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body: bytes) -> Reply:
        connection = HTTPConnection(self.target, timeout=10)
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.getheaders(), reply.read()

    def _reply(self, reply: Reply, promised: int | None = None) -> None:
        status, headers, body = reply
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # a HEAD reply tells a length and has no body
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(promised or length))
        self.end_headers()
        self.wfile.write(body)
