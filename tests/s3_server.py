"""An S3 server in this process, spoken to over HTTP."""

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class _QuietHandler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # else a small body waits 40 ms for the peer to confirm the head

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def serve_s3(around: Callable[[Any], Any] = lambda app: app) -> Iterator[str]:
    """The server's address, while it runs; `around` may put another WSGI application before it."""
    app = around(_StrictS3(DomainDispatcherApplication(create_backend_app)))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


class _StrictS3:
    """What S3 does and moto alone does not.

    It decides conditional writes one after another, refuses a body that does not match its checksums, and knows
    nothing any more of an upload that was completed or aborted.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = Lock()
        self._ended: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        if not _matches_its_checksums(body, environ):
            return _refuse(start_response, "400 Bad Request", "BadDigest")
        upload = parse_qs(environ.get("QUERY_STRING", "")).get("uploadId", [""])[0]
        with self._lock:
            if upload in self._ended:
                return _refuse(start_response, "404 Not Found", "NoSuchUpload")
            return list(self._app(environ, self._noting_the_end(upload, environ, start_response)))

    def _noting_the_end(
        self, upload: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[..., Any]:
        def start(status: str, *arguments: Any) -> Any:
            if upload and environ["REQUEST_METHOD"] in ("POST", "DELETE") and status.startswith("2"):
                self._ended.add(upload)
            return start_response(status, *arguments)

        return start


def _matches_its_checksums(body: bytes, environ: dict[str, Any]) -> bool:
    digest = hashlib.sha256(body)
    found = {
        "HTTP_X_AMZ_CHECKSUM_SHA256": b64encode(digest.digest()).decode(),
        "HTTP_X_AMZ_CHECKSUM_CRC32": b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
        "HTTP_X_AMZ_CONTENT_SHA256": digest.hexdigest(),
    }
    return all(environ.get(name, value) in (value, "UNSIGNED-PAYLOAD") for name, value in found.items())


def _refuse(start_response: Callable[..., Any], status: str, code: str) -> list[bytes]:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]
