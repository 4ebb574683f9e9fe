"""Thousands of paths and addresses against a folder with a secret beside it: it is never read, and nothing falls."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from autosteer_core.errors import BadItem, UserMistake
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.open_store import open_store
from infra.picture_places import Pictures
from tests.security.address_rows import PICTURE, SECRET, folder_with_a_secret
from tests.security.packets import watched
from tests.security.scale import SEED, scaled

pytestmark = pytest.mark.security

REFUSED = {
    "E_URI", "E_URI_SCHEME", "E_PATH", "E_ACCESS", "E_REQUEST", "E_MANIFEST_KIND", "E_NOT_PARQUET", "E_JSON",
}  # fmt: skip

_LIKELY = ("..", "..", "up", "secret.png", "secret.png", "pictures", "1.png", "pictures/1.png", "link.png")
_NAMES = (
    "..", ".", "", "...", "pictures", "up", "set", "link.png", "1.png", "secret.png", "pipe.png", "zero.png", 
    "round.png", "nowhere.png", "%2e%2e", "%2E.", "%252e%252e", "%00", "..\0", "\0", "..\\", "\\..\\",
    "．．", "‥", "..;", "..%2f",
    "..%5c", "~", "$HOME", "*", "\ud800", "\u202e", "a" * 300, " ", "\t", "\n", "etc", "passwd", "proc", "self",
    "environ",
)  # fmt: skip
_STARTS = (
    "", "", "", "/", "//", "./", ".//", "\\", "\\\\host\\share\\", "file:", "file://", "file:///", "FILE://localhost/",
    "http://", "https://", "HTTP:", "s3://", "s3:/", "S3://", "s3://bucket/", "s3a://", "gs://", "data:,", 
    "data:image/png;",
    "javascript:", "gopher://127.0.0.1/", "jar:file:", "C:\\", "{place}/", "{place}/set/", "/proc/self/cwd/", 
    "/dev/fd/",
)  # fmt: skip
_JOINS = ("/", "/", "/", "/", "//", "\\", "/./", "/../", "%2f", "?", "#", ":", "@")


def generated(random: Random, place: Path) -> str:
    """A start, some names, and now and then a character that is changed afterwards."""
    names = [random.choice(random.choice((_LIKELY, _NAMES))) for _ in range(random.randrange(1, 6))]
    text = (random.choice(_STARTS) if random.random() < 0.7 else "").replace("{place}", str(place))
    for name in names:
        text += name + (random.choice(_JOINS) if random.random() < 0.3 else "/")
    text = text.removesuffix("/") if random.random() < 0.7 else text
    if text and random.random() < 0.2:
        where = random.randrange(len(text))
        text = text[:where] + chr(random.randrange(0x300)) + text[where + random.randrange(2) :]
    return text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder_with_a_secret(tmp_path)
    return tmp_path


def test_no_path_reads_the_secret_and_no_error_is_another(place: Path, report: Callable[[str, object], None]) -> None:
    random, count, codes = Random(SEED), scaled(6_000), dict[str, int]()
    folder = Pictures([place / "set"], [])
    stored = Pictures([], [FolderStore(place / "set")])
    with watched() as seen:
        for _ in range(count):
            named = generated(random, place)
            for pictures in (folder, stored):
                try:
                    found = pictures.read(named)
                except BadItem as error:
                    assert "\n" not in str(error) and len(str(error)) < 1_000
                    codes[error.code] = codes.get(error.code, 0) + 1
                except UserMistake as error:  # of a folder as a store, which refuses links that lead out
                    assert pictures is stored, error
                else:
                    assert found == PICTURE, named
                    codes["read"] = codes.get("read", 0) + 1
    assert seen == []
    assert {"read", "E_PATH_OUTSIDE_ROOT", "E_IMAGE_NOT_FOUND", "E_URI_SCHEME", "E_URI_FORBIDDEN"} <= codes.keys()
    report("generated paths and addresses", f"{count}, 0 reads of the secret, {codes}")


def test_the_generated_paths_would_read_the_secret_if_they_were_just_opened(place: Path) -> None:
    """The same paths find the secret where nobody is careful."""
    random, found = Random(SEED), 0
    for _ in range(6_000):
        named = generated(random, place)
        path = os.path.join(place / "set", named)
        try:
            found += os.path.isfile(path) and Path(path).read_bytes() == SECRET
        except (OSError, ValueError):
            continue
    assert found >= 10


def _is_below(named: str, place: Path) -> bool:
    return not named.lower().startswith("s3:") and os.path.realpath(named).startswith(str(place))


def test_what_a_person_types_ends_in_a_store_or_in_a_sentence(
    place: Path, s3_address: str, monkeypatch: pytest.MonkeyPatch, report: Callable[[str, object], None]
) -> None:
    monkeypatch.chdir(place / "set")
    (place / "set" / "m.jsonl").write_text('{"id": "a", "text": "x"}\n')
    random, count, refused, opened = Random(SEED + 1), scaled(2_000), 0, 0
    for _ in range(count):
        named = generated(random, place)
        if named.lower().startswith("s3://bucket/"):  # a client for each takes a second of every ten
            named = named[:9] + random.choice("_A.-") + named[9:]
        try:
            open_store(named)
            if _is_below(named, place):  # nobody waits until the whole disk was looked through
                open_manifest(named).files()
                opened += 1
        except UserMistake as error:
            refused += 1
            assert error.code in REFUSED, error
            assert "\n" not in str(error)
    assert count * 0.3 < refused < count
    assert opened
    report("generated addresses that a person typed", f"{count}, {refused} refused, {opened} read as a manifest")


def test_a_link_that_is_moved_while_files_are_read_never_shows_the_secret(place: Path) -> None:
    """A folder becomes a link and a folder again, over and over: what was checked is what is opened."""
    from threading import Event, Thread

    inside, over = place / "set", Event()
    (place / "pictures").mkdir()
    (place / "pictures" / "1.png").write_bytes(SECRET)
    (inside / "kept").mkdir()
    (inside / "kept" / "1.png").write_bytes(PICTURE)

    def swap() -> None:
        while not over.is_set():
            (inside / "kept").rename(inside / "aside")
            (inside / "kept").symlink_to(place / "pictures")
            (inside / "kept").unlink()
            (inside / "aside").rename(inside / "kept")

    swapper = Thread(target=swap)
    swapper.start()
    pictures, codes = Pictures([inside], []), set[str]()
    try:
        for _ in range(scaled(3_000)):
            try:
                assert pictures.read("kept/1.png") == PICTURE
            except BadItem as error:
                codes.add(error.code)
    finally:
        over.set()
        swapper.join()
    assert codes <= {"E_PATH_OUTSIDE_ROOT", "E_IMAGE_NOT_FOUND"}
    assert codes
