"""Addresses are checked before anything is opened."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from autosteer_core.errors import UserMistake
from infra.folder_store import FolderStore
from infra.open_store import open_store


@pytest.mark.parametrize(
    "address", ["http://host/x", "gs://bucket/x", "file:///etc", "ftp://h/", "data:,x", "s3a://b"]
)
def test_another_scheme_is_refused_with_the_allowed_ones_and_without_the_address(address: str) -> None:
    with pytest.raises(UserMistake, match="folder path or s3://bucket/prefix") as refusal:
        open_store(address)
    assert refusal.value.code == "E_URI_SCHEME"
    assert address not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("s3:bucket/prefix", "begins with s3://"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://ab/prefix", "3 to 63 characters, this one has 2"),
        (f"s3://{'b' * 64}/prefix", "3 to 63 characters, this one has 64"),
        ("s3://AB..c/prefix", "lower case letters"),
        ("s3://a..b/prefix", "no two dots in a row"),
        ("s3://10.0.0.1/prefix", "not an IP address"),
        ("s3://-bucket/prefix", "begins and ends with a letter"),
        ("s3://b_b/prefix", "lower case letters"),
        ("s3://bucket?x=secret/prefix", "lower case letters"),
        ("s3://bucket//prefix", "no name in it may be empty"),
        ("s3://bucket/../x?x=secret", "no name in it may be empty, start with a dot"),
        ("s3://bucket/" + "k/" * 512 + "k", "more than 1,024 bytes"),
        ("s3://bucket/prefix?X-Amz-Signature=secret", "a signature"),
        ("bucket/prefix?a=1&sig=secret", "a signature"),
        ("s3://user:secret@bucket/prefix", "user name or a password"),
        ("https://user:secret@host/prefix", "user name or a password"),
        ("ftp://secret@host", "user name or a password"),
    ],
)
def test_an_address_that_breaks_a_rule_is_refused_with_the_rule_and_without_a_secret(address: str, rule: str) -> None:
    with pytest.raises(UserMistake, match=rule) as refusal:
        open_store(address)
    assert refusal.value.code == "E_URI"
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("address", ["", "  ", "a\0b"])
def test_an_address_that_says_nothing_is_refused(address: str) -> None:
    with pytest.raises(UserMistake, match="empty"):
        open_store(address)


def test_a_prefix_with_dots_is_refused() -> None:
    with pytest.raises(UserMistake, match="cannot be a key"):
        open_store("s3://bucket/a/../b")


def test_opening_a_folder_does_not_make_it(tmp_path: Path) -> None:
    open_store(str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_boto3_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_boto3(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("boto3", "infra.s3_store"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_boto3)
    with pytest.raises(UserMistake, match=r"autosteer\[s3\]"):
        open_store("s3://bucket/prefix")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserMistake, match=r"cannot write .*file/parts/1 \(Not a directory\)"):
        FolderStore(tmp_path / "file").put_if_absent("parts/1", b"")


def test_a_key_that_is_a_folder_already_cannot_be_put(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("parts/1", b"")
    for put in (store.put, store.put_if_absent):
        with pytest.raises(UserMistake, match="cannot write .*parts"):
            put("parts", b"")


def test_hidden_files_of_other_programs_are_not_keys(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("parts/1", b"")
    (tmp_path / "parts" / ".DS_Store").touch()
    assert list(store.keys()) == ["parts/1"]


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "gone"), ("AWS_ENDPOINT_URL_S3", "no address")])
def test_a_wrong_s3_setting_is_a_mistake_to_correct(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserMistake, match="S3 is not set up"):
        open_store("s3://bucket/prefix")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UserMistake, match="through a link"):
        FolderStore(tmp_path / "store").get("link")
