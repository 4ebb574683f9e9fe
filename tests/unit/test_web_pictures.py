"""The fetcher ends, whatever a host does: in time, in bytes, and with one sentence."""

import gzip
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autosteer_core.errors import BadItem, UserMistake
from infra.row_to_item import MAX_IMAGE_BYTES
from infra.web_pictures import WebPictures
from tests.security.loopback_web import Answer, Server, raw, reply, serve

PNG = b"\x89PNG of some picture"
HERE = "127.0.0.2"
NAME = "pictures.example"
OK = b"HTTP/1.1 200 OK\r\n"


def fetched(server: Server, seconds: float = 5.0, path: str = "/1.png") -> bytes:
    web = WebPictures([f"http://{NAME}:{server.port}"], lambda *_: [HERE], lambda _: True, seconds)
    return web.fetch(f"http://{NAME}:{server.port}{path}")


def test_a_picture_is_asked_for_plainly_and_returned_as_it_is() -> None:
    with serve(HERE, reply(PNG)) as server:
        assert fetched(server, path="/a%20b/1.png?size=2&x=%2F#part") == PNG
    assert server.requests == ["GET /a%20b/1.png?size=2&x=%2F HTTP/1.1"]
    asked = server.headers[0].decode().lower()
    assert f"host: {NAME}:{server.port}\r\n" in asked and "accept-encoding: identity\r\n" in asked
    assert "cookie" not in asked and "authorization" not in asked


BAD: dict[str, tuple[Answer, str, str]] = {
    "not there": (reply(b"", status="404 Not Found"), "E_IMAGE_NOT_FOUND", "status 404"),
    "not for us": (reply(b"", status="403 Forbidden"), "E_IMAGE_NOT_FOUND", "status 403"),
    "broken": (reply(b"", status="500 Oh"), "E_IMAGE_NOT_FOUND", "status 500"),
    "moved": (reply(b"", "Location: https://other.example/?s=1", status="301 Moved"), "E_URI_FORBIDDEN", "other.ex"),
    "partial": (reply(PNG[:9], status="206 Partial Content"), "E_IMAGE_NOT_FOUND", "status 206"),
    "short body": (reply(PNG, length=len(PNG) + 1), "E_FETCH_FAILED", "ends 1 bytes too early"),
    "long length": (reply(b"", length=10**15), "E_IMAGE_TOO_LARGE", str(MAX_IMAGE_BYTES)),
    "endless body": (raw(OK + b"\r\n", b"\0" * 2**20), "E_IMAGE_TOO_LARGE", str(MAX_IMAGE_BYTES)),
    "endless chunks": (
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + b"\0" * 2**20 + b"\r\n"),
        "E_IMAGE_TOO_LARGE",
        str(MAX_IMAGE_BYTES),
    ),
    "gzip bomb": (
        reply(gzip.compress(bytes(2**24)), "Content-Encoding: gzip"),
        "E_FETCH_FAILED",
        "encoded as 'gzip'",
    ),
    "br": (reply(b"x", "Content-Encoding: br"), "E_FETCH_FAILED", "encoded as 'br'"),
    "not http": (raw(b"SSH-2.0-OpenSSH\r\n"), "E_FETCH_FAILED", "SSH"),
    "hangs up": (lambda wire, over: None, "E_FETCH_FAILED", "closed connection"),
    "endless headers": (raw(OK, b"X: y\r\n" * 1000), "E_FETCH_FAILED", "100 headers"),
    "endless header": (raw(OK + b"X: ", b"y" * 2**16), "E_FETCH_FAILED", "header line"),
    "wrong chunk": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "E_FETCH_FAILED", "IncompleteRead"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_one_row_with_its_reason(name: str) -> None:
    answer, code, said = BAD[name]
    began = time.monotonic()
    with serve(HERE, answer) as server, pytest.raises(BadItem) as refusal:
        fetched(server)
    assert refusal.value.code == code
    assert said in str(refusal.value)
    assert time.monotonic() - began < 5


SLOW: dict[str, Answer] = {
    "says nothing": raw(b""),
    "a byte now and then": raw(OK + b"Content-Length: 1000000\r\n\r\n", b"x", 0.02),
    "a header byte now and then": raw(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
    "continue, continue": raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_drip_ends_when_the_time_is_over(name: str) -> None:
    began = time.monotonic()
    with serve(HERE, SLOW[name]) as server, pytest.raises(BadItem, match="E_FETCH_TIME.*within 0.3 s"):
        fetched(server, seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 2


def test_a_name_that_is_never_answered_ends_too() -> None:
    began = time.monotonic()

    def never(name: str, port: int) -> Sequence[str]:
        time.sleep(2)
        return [HERE]

    with pytest.raises(BadItem, match="E_FETCH_TIME"):
        WebPictures([NAME], never, lambda _: True, seconds=0.2).fetch(f"https://{NAME}/1.png")
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("answer", [[], ["no address"]])
def test_a_name_without_an_address_is_a_failure(answer: list[str]) -> None:
    with pytest.raises(BadItem, match="E_FETCH_FAILED"):
        WebPictures([NAME], lambda *_: answer).fetch(f"https://{NAME}/1.png")


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    with serve(HERE, reply(PNG)) as server:
        web = WebPictures([f"http://{NAME}:{server.port}"], lambda *_: ["127.0.0.3", HERE], lambda _: True)
        assert web.fetch(f"http://{NAME}:{server.port}/1.png") == PNG


@pytest.mark.parametrize(
    "address",
    [
        f"https://{NAME}:444/1.png",
        f"http://{NAME}/1.png",
        f"https://other.{NAME}/1.png",
        f"https://{NAME}.evil.example/1.png",
        f"https://user@{NAME}/1.png",
        f"https://{NAME}",
    ],
)
def test_only_the_listed_scheme_host_and_port_are_asked(address: str) -> None:
    looked_up: list[str] = []

    def look_up(name: str, port: int) -> Sequence[str]:
        looked_up.append(f"{name}:{port}")
        return []

    expected = [f"{NAME}:443"] if address == f"https://{NAME}" else []
    with pytest.raises(BadItem, match="E_FETCH_FAILED" if expected else "E_URI_FORBIDDEN"):
        WebPictures([NAME], look_up).fetch(address)
    assert looked_up == expected


@pytest.mark.parametrize("entry", ["", "Example.com", "https://", "a/b", "*.example.com", "u@h", "ftp://h", "h:x"])
def test_a_setting_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(UserMistake, match="in fetch_hosts is no host") as refusal:
        WebPictures([entry])
    assert refusal.value.code == "E_URI"


@pytest.fixture
def certified(tmp_path: Path) -> Callable[[str], tuple[ssl.SSLContext, ssl.SSLContext]]:
    """(the server's side, a client that trusts it) for a name."""

    def make(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        key = ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / f"{name}.pem"
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private + certificate.public_bytes(pem))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(file)
        return server, ssl.create_default_context(cadata=certificate.public_bytes(pem).decode())

    return make


def test_tls_is_verified_against_the_name_although_the_address_is_pinned(
    certified: Callable[[str], tuple[ssl.SSLContext, ssl.SSLContext]],
) -> None:
    theirs, ours = certified(NAME)
    with serve(HERE, reply(PNG), tls=theirs) as server:
        listed = [f"{NAME}:{server.port}", f"other.example:{server.port}"]
        trusting = WebPictures(listed, lambda *_: [HERE], lambda _: True, tls=ours)
        assert trusting.fetch(f"https://{NAME}:{server.port}/1.png") == PNG
        with pytest.raises(BadItem, match="E_FETCH_FAILED.*(?i:certificate)"):
            trusting.fetch(f"https://other.example:{server.port}/1.png")
        with pytest.raises(BadItem, match="E_FETCH_FAILED.*(?i:certificate)"):
            WebPictures(listed, lambda *_: [HERE], lambda _: True).fetch(f"https://{NAME}:{server.port}/1.png")
    assert len(server.requests) == 1


def test_a_handshake_that_never_ends_is_ended() -> None:
    with serve(HERE, raw(b"")) as server, pytest.raises(BadItem, match="E_FETCH_TIME"):
        WebPictures([f"{NAME}:{server.port}"], lambda *_: [HERE], lambda _: True, seconds=0.3).fetch(
            f"https://{NAME}:{server.port}/1.png"
        )
