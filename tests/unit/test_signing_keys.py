"""This machine's signing key: who makes it, who may read it, and what is refused."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from autosteer_core.bundle_signature import public_text
from autosteer_core.errors import UserMistake
from infra.signing_keys import key_file, make_key, own_key


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return key_file()


def test_a_key_is_made_once_for_its_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        made = make_key(path)
    finally:
        os.umask(old)

    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert make_key(path).private_bytes_raw() == made.private_bytes_raw()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_looking_for_a_key_makes_none(path: Path) -> None:
    assert own_key(path) is None
    assert not path.parent.exists()


def test_many_who_make_it_at_once_get_the_same(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = {public_text(key.public_key()) for key in threads.map(make_key, [path] * 32)}

    assert len(keys) == 1


@pytest.mark.parametrize("open_mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused(path: Path, open_mode: int) -> None:
    make_key(path)
    path.chmod(open_mode)

    with pytest.raises(UserMistake, match=f"has mode 0{open_mode:o} .* expected nobody but user") as refused:
        own_key(path)
    assert refused.value.code == "E_SIGNING_KEY"


def test_a_folder_in_which_others_may_exchange_the_key_is_refused(path: Path) -> None:
    make_key(path)
    path.parent.chmod(0o770)

    with pytest.raises(UserMistake, match="mode 0770"):
        own_key(path)


def test_a_link_to_a_key_is_refused(path: Path) -> None:
    make_key(path)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")

    with pytest.raises(UserMistake, match="is a link") as refused:
        own_key(path)
    assert refused.value.code == "E_PATH"


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", b"\0" * 99]
)
def test_what_is_no_key_is_refused_without_a_word_of_it(path: Path, content: bytes) -> None:
    make_key(path)
    path.write_bytes(content)

    with pytest.raises(UserMistake, match="is not readable"):
        own_key(path)


def test_a_key_of_another_kind_is_refused(path: Path) -> None:
    make_key(path)
    path.write_bytes(X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    with pytest.raises(UserMistake, match="is no Ed25519 key"):
        own_key(path)
