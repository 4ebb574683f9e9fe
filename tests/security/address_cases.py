"""Kinds 50, 75, 85 and 88 to 96: missing pictures, addresses that lead elsewhere, hosts that do not end."""

import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import boto3
from botocore.config import Config

from infra.encoded_image import decoded_image
from infra.open_manifest import open_manifest, refuse_output_inside
from infra.open_store import open_store
from infra.picture_places import Pictures
from infra.s3_store import S3Store
from infra.web_pictures import WebPictures
from tests.security.address_rows import naming, read_row
from tests.security.case import Case, Level, Outcome, refused
from tests.security.hostile_addresses import look_up, metadata, neighbours
from tests.security.loopback_web import Answer, raw, redirect, reply, serve
from tests.security.packets import watched

_HERE = "127.0.0.2"
_UNUSED_PORT = 9
_OK = b"HTTP/1.1 200 OK\r\n"
_ODD_NAMES = (
    "a+b.png", "100%.png", "a%20b.png", "a%2Bb.png", "a b.png", "what?.png", "a?x=1&y=2.png", "#1.png", "a#b.png",
    "\u00e9.png", "e\u0301.png", "日本語.png", "=&;,$!'()*[]{}.png", "~.png", "@.png", "a:b.png",
)  # fmt: skip


def _row(number: int, name: str, named: str, code: str) -> Case:
    return Case(number, name, *naming(named), Level.ROW, code, "line 1")


def _nothing(place: Path, random: Random) -> None:
    """The input is an address, and no file."""


def _typed(number: int, name: str, address: str, code: str = "E_URI", place: str = "s3://bucket") -> Case:
    """What a person types for a manifest, an output or a bundle; what is secret in it must not be repeated."""

    def feed(_: object) -> Outcome:
        found = refused(lambda: open_store(address), Level.START)
        assert "secret" not in found.said
        return found

    return Case(number, name, _nothing, feed, Level.START, code, place)


def _manifest(name: str, make: Callable[[Path], object]) -> Case:
    """Kind 75, of a manifest: what stands at its path is no file."""

    def made(place: Path, random: Random) -> Path:
        make(place / "m.jsonl")
        return place / "m.jsonl"

    def feed(path: Path) -> Outcome:
        return refused(lambda: open_manifest(str(path)).files(), Level.RUN)

    return Case(75, name, made, feed, Level.RUN, "E_PATH", "m.jsonl")


def _s3_answers(number: int, name: str, status: str, error: str, level: Level, code: str) -> Case:
    """A picture in a store that refuses; the answer comes over real HTTP."""

    def feed(_: object) -> Outcome:
        body = f"<Error><Code>{error}</Code><Message>no</Message></Error>".encode()
        with serve(_HERE, reply(body, "Content-Type: application/xml", status=status)) as server:
            store = S3Store(_client(f"http://{_HERE}:{server.port}"), "bucket", "set")
            with watched() as seen:
                found = refused(lambda: Pictures([], [store]).read("1.png"), level)
            assert {place for call, place in seen if call == "connect"} == {(_HERE, server.port)}
        return found

    return Case(number, name, _nothing, feed, level, code, "s3://bucket/set")


def _client(endpoint: str) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, config=config, **keys)


def _listed_host(number: int, name: str, address: str) -> Case:
    """The host is in the setting, and still gets no packet."""

    def feed(_: object) -> Outcome:
        host = address.partition("//")[2].partition("/")[0].lower()
        with watched() as seen:
            found = refused(lambda: WebPictures([f"http://{host}"], look_up).fetch(address), Level.ROW)
        assert [call for call in seen if call[0] != "getaddrinfo"] == []
        return found

    return Case(number, name, _nothing, feed, Level.ROW, "E_URI_FORBIDDEN", "image")


def _host_answers(number: int, name: str, answer: Answer, code: str, seconds: float = 2.0) -> Case:
    """A listed host that answers as it likes."""

    def feed(_: object) -> Outcome:
        with serve(_HERE, answer) as server:
            web = WebPictures([f"http://host.example:{server.port}"], lambda *_: [_HERE], lambda _: True, seconds)
            return refused(lambda: web.fetch(f"http://host.example:{server.port}/1.png?X-Sig=secret"), Level.ROW)

    return Case(number, name, _nothing, feed, Level.ROW, code, "1.png'?...")


def _rebinding() -> Case:
    """The name is harmless when it is asked first; the second picture meets the second answer."""

    def feed(_: object) -> Outcome:
        answers = [[_HERE], ["127.0.0.1"]]
        with serve(_HERE, reply(b"\x89")) as server:
            web = WebPictures(
                [f"http://rebind.example:{server.port}"], lambda *_: answers.pop(0), lambda one: str(one) == _HERE
            )
            address = f"http://rebind.example:{server.port}/1.png"
            assert web.fetch(address) == b"\x89" and len(answers) == 1
            return refused(lambda: web.fetch(address), Level.ROW)

    return Case(91, "rebinding", _nothing, feed, Level.ROW, "E_URI_FORBIDDEN", "rebind.example")


def _odd_name(number: int, name: str) -> Case:
    """A file whose name a careless reader decodes, cuts or normalises; its neighbours are what that would hit."""

    def make(place: Path, random: Random) -> Path:
        (place / name).write_bytes(name.encode())
        (place / "m.jsonl").write_text(json.dumps({"source-ref": f"./{name}"}) + "\n")
        return place / "m.jsonl"

    def feed(manifest: Path) -> Outcome:
        return read_row(str(manifest), expected=name.encode())

    return Case(96, f"name-{number}", make, feed, Level.FINE)


def _large_data() -> Case:
    def feed(_: object) -> Outcome:
        return refused(lambda: decoded_image("data:image/png;base64," + "A" * 45_000_000), Level.ROW)

    return Case(92, "data-45-MB", _nothing, feed, Level.ROW, "E_IMAGE_BYTES", "bytes")


def _rows(number: int, code: str, named: Sequence[str]) -> list[Case]:
    return [_row(number, f"row-{place}", address, code) for place, address in enumerate(named)]


def _a_folder(place: Path, random: Random) -> Path:
    (place / "set").mkdir()
    return place / "set"


def _output_inside(manifest: Path) -> Outcome:
    return refused(lambda: refuse_output_inside(str(manifest), f"{manifest}/out"), Level.START)


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


CASES: list[Case] = [
    _row(50, "no-such-path", "pictures/gone.png", "E_IMAGE_NOT_FOUND"),
    _row(50, "folder", "pictures", "E_IMAGE_NOT_FOUND"),
    _row(50, "pipe", "pipe.png", "E_IMAGE_NOT_FOUND"),
    _row(50, "link-to-nothing", "nowhere.png", "E_IMAGE_NOT_FOUND"),
    _row(50, "link-in-a-circle", "round.png", "E_IMAGE_NOT_FOUND"),
    _s3_answers(50, "s3-404", "404 Not Found", "NoSuchKey", Level.ROW, "E_IMAGE_NOT_FOUND"),
    _s3_answers(50, "s3-403", "403 Forbidden", "AccessDenied", Level.RUN, "E_ACCESS"),
    _manifest("manifest-is-a-pipe", os.mkfifo),
    _manifest("manifest-is-a-device", _link),
    _manifest("manifest-is-a-link-to-nothing", lambda path: path.symlink_to(path.parent / "gone")),
    _manifest("manifest-is-a-link-in-a-circle", lambda path: path.symlink_to(path)),
    Case(85, "output-inside-input", _a_folder, _output_inside, Level.START, "E_OUTPUT_EXISTS", "set/out"),
    _typed(88, "no-bucket", "s3://", place="names no bucket"),
    _typed(88, "no-bucket-but-a-key", "s3:///key", place="names no bucket"),
    _typed(88, "capitals", "s3://AB..c/set", place="lower case"),
    _typed(88, "two-characters", "s3://ab/set", place="3 to 63"),
    _typed(88, "64-characters", f"s3://{'b' * 64}/set", place="3 to 63"),
    _typed(88, "two-dots", "s3://a..b/set", place="two dots"),
    _typed(88, "ip-address", "s3://169.254.169.254/latest", place="not an IP address"),
    _typed(88, "empty-name-in-key", "s3://bucket//set"),
    _typed(88, "key-of-1025-bytes", "s3://bucket/" + "k/" * 512 + "k", place="1,024 bytes"),
    _typed(88, "half-a-character", "s3://bucket/\ud800", place="half a character"),
    _row(88, "picture-without-key", "s3://bucket/", "E_URI"),
    _row(88, "picture-without-bucket", "s3:///1.png", "E_URI"),
    *_rows(
        89,
        "E_PATH_OUTSIDE_ROOT",
        [
            "file:///etc/passwd",
            "file:/etc/passwd",
            "FILE://localhost/etc/passwd",
            "/etc/passwd",
            "//etc/passwd",
            "{place}/secret.png",
            "../secret.png",
            "./../secret.png",
            "pictures/../../secret.png",
            "pictures/../../../x",
            "%2e%2e/secret.png",
            "%252e%252e%252fsecret.png",
            "..%2fsecret.png",
            "..\\secret.png",
            "..%5csecret.png",
            "..",
            "../secret.png\0.png",
            "pictures/1.png\0",
            "link.png",
            "up/secret.png",
            "zero.png",
            "/proc/self/environ",
            "/dev/fd/0",
            ".hidden.png",
        ],
    ),
    *_rows(90, "E_URI_FORBIDDEN", metadata()[:16:3]),
    *(_listed_host(90, f"listed-{place}", address) for place, address in enumerate(metadata())),
    *_rows(91, "E_URI_FORBIDDEN", neighbours(_UNUSED_PORT)[::6]),
    _listed_host(91, "listed-loopback", f"http://127.0.0.1:{_UNUSED_PORT}/"),
    _listed_host(91, "listed-decimal", f"http://2130706433:{_UNUSED_PORT}/"),
    _listed_host(91, "listed-any", "http://0.0.0.0/"),
    _listed_host(91, "listed-ipv6", "http://[::1]/"),
    _listed_host(91, "listed-mapped", "http://[::ffff:7f00:1]/"),
    _listed_host(91, "listed-private", "http://10.0.0.1/"),
    _listed_host(91, "name-of-a-private-address", "http://ten.example/"),
    _listed_host(91, "name-of-two-addresses", "http://both.example/"),
    _rebinding(),
    _host_answers(91, "redirect", redirect("http://169.254.169.254/latest?token=secret"), "E_URI_FORBIDDEN"),
    *_rows(
        92,
        "E_URI_SCHEME",
        [
            "gopher://127.0.0.1:70/_x",
            "ftp://127.0.0.1/1.png",
            "data:image/png;base64,iVBORw0KGgo=",
            "javascript:alert(1)",
            "s3a://bucket/1.png",
            "gs://bucket/1.png",
            "ldap://127.0.0.1/",
            "jar:file:///x!/y",
        ],
    ),
    *(
        _typed(92, f"typed-{place}", address, "E_URI_SCHEME", "s3://bucket/prefix")
        for place, address in enumerate(["gopher://h/", "ftp://h/x", "data:,x", "javascript:x", "s3a://b", "gs://b"])
    ),
    _large_data(),
    _typed(93, "login-in-an-address", "https://user:secret@host/set", place="user name or a password"),
    _typed(93, "login-before-a-bucket", "s3://user:secret@bucket/set", place="user name or a password"),
    _typed(93, "query-after-a-key", "s3://bucket//set?X-Amz-Signature=secret"),
    _typed(93, "signature", "s3://bucket/set/m.parquet?X-Amz-Signature=secret", place="signature"),
    _row(93, "presigned", "https://bucket.example/1.png?X-Amz-Signature=secret#secret", "E_URI_FORBIDDEN"),
    _row(93, "login-of-a-picture", "https://user:secret@host.example/1.png", "E_URI_FORBIDDEN"),
    _row(93, "login-with-odd-signs", "https://us/er:sec?secret#ret@host.example/1.png", "E_URI_FORBIDDEN"),
    _row(93, "login-before-a-bucket-of-a-picture", "s3://user:secret@bucket/1.png", "E_URI"),
    _host_answers(93, "query-of-a-failure", reply(b"", status="404 Gone"), "E_IMAGE_NOT_FOUND"),
    _row(94, "another-bucket", "s3://other-bucket/1.png", "E_BUCKET_NOT_ALLOWED"),
    _s3_answers(94, "region", "301 Moved", "PermanentRedirect", Level.RUN, "E_BUCKET_NOT_ALLOWED"),
    _s3_answers(94, "account", "307 Temporary", "TemporaryRedirect", Level.RUN, "E_BUCKET_NOT_ALLOWED"),
    _host_answers(95, "endless-body", raw(_OK + b"\r\n", bytes(2**20)), "E_IMAGE_TOO_LARGE", 4.0),
    _host_answers(95, "gzip-bomb", reply(gzip.compress(bytes(2**22)), "Content-Encoding: gzip"), "E_FETCH_FAILED"),
    _host_answers(95, "length-too-large", reply(b"x", length=10**15), "E_IMAGE_TOO_LARGE"),
    _host_answers(95, "length-a-lie", reply(b"x", length=2), "E_FETCH_FAILED"),
    _host_answers(95, "drip", raw(_OK + b"Content-Length: 9999\r\n\r\n", b"x", 0.05), "E_FETCH_TIME", 0.4),
    _host_answers(95, "drip-of-a-header", raw(_OK + b"X: ", b"x", 0.05), "E_FETCH_TIME", 0.4),
    _host_answers(95, "silence", raw(b""), "E_FETCH_TIME", 0.4),
    *(_odd_name(number, name) for number, name in enumerate(_ODD_NAMES)),
]
