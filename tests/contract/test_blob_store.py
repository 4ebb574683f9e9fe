"""What every blob store promises, wherever its bytes lie."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from infra.memory_store import MemoryStore
from infra.open_store import open_store

UNSAFE = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "a\0b",
    "a\nb",
    ".tmp/a",
    "x" * 201,
]


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Each store we ship: add an adapter here and it inherits the whole suite."""
    if request.param == "memory":
        return MemoryStore()
    address = request.getfixturevalue("s3_address") if request.param == "s3" else str(tmp_path / "new" / "store")
    return open_store(address)


@pytest.mark.parametrize("data", [b"", b"verdicts", bytes(range(256)) * 5_000], ids=["empty", "short", "1 MB"])
def test_the_bytes_come_back_as_they_were_put(store: BlobStore, data: bytes) -> None:
    assert store.put_if_absent("parts/0001", data)
    assert store.get("parts/0001") == data


def test_the_first_writer_wins_and_the_others_are_told(store: BlobStore) -> None:
    assert store.put_if_absent("commits/1", b"first") is True
    assert store.put_if_absent("commits/1", b"second") is False
    assert store.get("commits/1") == b"first"


def test_the_same_bytes_put_again_are_still_a_second_writer(store: BlobStore) -> None:
    assert store.put_if_absent("commits/1", b"same") is True
    assert store.put_if_absent("commits/1", b"same") is False


def test_of_eight_writers_at_once_exactly_one_wins(store: BlobStore) -> None:
    writers = [f"writer {number}".encode() * 1_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: store.put_if_absent("commits/1", data), writers))
    assert won.count(True) == 1
    assert store.get("commits/1") == writers[won.index(True)]


def test_put_replaces(store: BlobStore) -> None:
    store.put("report.html", b"old")
    store.put("report.html", b"new")
    assert store.get("report.html") == b"new"
    assert store.put_if_absent("report.html", b"newer") is False


def test_a_missing_key_is_a_key_error(store: BlobStore) -> None:
    store.put("parts/1", b"")
    for key in ("nothing", "parts", "parts/1/deeper"):
        with pytest.raises(KeyError, match=key):
            store.get(key)


def test_keys_are_listed_in_order_and_by_string_prefix(store: BlobStore) -> None:
    for key in ("parts/10", "parts/2", "parts-old/1", "commits/1", "parts/a b+c%2F?#ü"):
        store.put_if_absent(key, b"x")
    assert list(store.keys("parts/")) == ["parts/10", "parts/2", "parts/a b+c%2F?#ü"]
    assert list(store.keys("parts/1")) == ["parts/10"]
    assert list(store.keys("part")) == ["parts-old/1", "parts/10", "parts/2", "parts/a b+c%2F?#ü"]
    assert list(store.keys("nothing/here")) == []
    assert len(list(store.keys())) == 5


def test_a_store_that_nobody_wrote_to_is_empty(store: BlobStore) -> None:
    assert list(store.keys()) == []


def test_deleting_what_is_no_key_leaves_the_keys_below_it(store: BlobStore) -> None:
    store.put("parts/1", b"")
    store.delete("parts")
    store.delete("parts/1/deeper")
    assert list(store.keys()) == ["parts/1"]


def test_a_deleted_key_is_gone_and_may_be_put_again(store: BlobStore) -> None:
    store.put_if_absent("a", b"1")
    store.delete("a")
    store.delete("a")
    assert list(store.keys()) == []
    assert store.put_if_absent("a", b"2")


@pytest.mark.parametrize("key", UNSAFE, ids=repr)
def test_a_key_that_could_leave_the_store_is_refused(store: BlobStore, key: str) -> None:
    for act in (lambda: store.put_if_absent(key, b""), lambda: store.put(key, b""), lambda: store.get(key)):
        with pytest.raises(UserMistake, match="cannot be a key"):
            act()
    with pytest.raises(UserMistake, match="cannot be a key"):
        store.delete(key)
    assert list(store.keys()) == []


@pytest.mark.parametrize("prefix", ["/", "/etc/", "../", "a/../../"])
def test_a_prefix_that_could_leave_the_store_is_refused(store: BlobStore, prefix: str) -> None:
    with pytest.raises(UserMistake, match="cannot be a key"):
        list(store.keys(prefix))


def test_a_store_says_where_it_is(store: BlobStore, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place = store.describe()
    assert place == "memory" or place == str(tmp_path / "new" / "store") or place.startswith("s3://bucket-")


def test_a_key_ages_from_when_it_was_written(store: BlobStore) -> None:
    store.put_if_absent("a/key", b"bytes")
    assert 0 <= store.age("a/key") < 60
    for key in ("another", "a", "a/ke", "a/key/deeper"):
        with pytest.raises(KeyError, match=key):
            store.age(key)


def test_a_key_that_is_put_again_is_young_again(store: BlobStore) -> None:
    store.put("report.html", b"old")
    time.sleep(2.1)  # S3 tells whole seconds, and one may begin at any moment
    before = store.age("report.html")
    store.put("report.html", b"new")
    assert before >= 2 > store.age("report.html")


def test_sweeping_removes_no_blob(store: BlobStore) -> None:
    store.put_if_absent("a/key", b"bytes")
    assert store.sweep(older_than=0.0) == 0
    assert store.get("a/key") == b"bytes"


def test_sweeping_a_store_that_nobody_wrote_to_is_harmless(store: BlobStore) -> None:
    assert store.sweep(older_than=0.0) == 0


def test_the_start_of_a_blob_is_read_and_no_more(store: BlobStore) -> None:
    store.put("a", b"0123456789")
    store.put("empty", b"")
    assert store.first_bytes("a", 4) == b"0123"
    assert store.first_bytes("a", 10) == store.first_bytes("a", 11) == b"0123456789"
    assert store.first_bytes("empty", 4) == b""
    with pytest.raises(KeyError):
        store.first_bytes("b", 4)
