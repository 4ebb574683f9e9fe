"""An HTTP proxy that fails on request: it loses replies, is busy, or spoils what it carries."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


@dataclass
class Faults:
    """How many of the next requests of a method go wrong, and in which way."""

    method: str = "PUT"
    lose_reply: int = 0
    busy: int = 0
    spoil_body: int = 0
    requests: int = 0
    answer: tuple[int, bytes] | None = None

    def take(self, kind: str) -> bool:
        left: int = getattr(self, kind)
        setattr(self, kind, max(0, left - 1))
        return left > 0


@contextmanager
def serve_faults(endpoint: str, faults: Faults) -> Iterator[str]:
    """The proxy's address, while it runs in front of `endpoint`."""
    handler = type("Handler", (_Handler,), {"target": urlsplit(endpoint).netloc, "faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    target: str
    faults: Faults
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        matching = self.command == self.faults.method
        self.faults.requests += matching
        body = self._request_body()
        if matching and self.faults.take("busy"):
            return self._reply(503, [], b"")
        if matching and self.faults.answer:
            return self._reply(self.faults.answer[0], [], self.faults.answer[1])
        status, headers, reply = self._forward(body)
        if matching and self.faults.take("lose_reply"):
            self.close_connection = True
            return None
        if matching and self.faults.take("spoil_body"):
            reply = bytes([reply[0] ^ 1]) + reply[1:]
        return self._reply(status, headers, reply)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _request_body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection(self.target, timeout=10)
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.getheaders(), reply.read()

    def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # a HEAD reply tells a length and has no body
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)
