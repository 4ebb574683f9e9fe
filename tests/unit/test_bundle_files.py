"""Bundles on disk and in S3: signed when they are written, refused from strangers, pinned for a run's workers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_signature import Signer, key_id, public_text
from autosteer_core.errors import BundleRefused, UserMistake
from infra.open_store import open_store
from pipelines.bundle_files import BundleReader, load_bundle, save_bundle, sign_bundle
from pipelines.settings import load_settings
from pipelines.signing import own_public_key, signer_of, trust_of
from tests.bundle_bytes import OURS, STRANGER, TRUST
from tests.tiny_bundle import tiny_bundle

NAMES = {"card.json", "signature.json", "weights.safetensors"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(cast(Backbone, SimpleNamespace(fingerprint="a" * 64)))


def code_of(address: str, **settings: object) -> str:
    with pytest.raises(BundleRefused) as refused:
        load_bundle(address, load_settings(**settings))
    return refused.value.code


def test_what_a_machine_makes_it_serves_without_a_flag(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), signer_of(load_settings()))

    assert load_bundle(str(tmp_path), load_settings()).bundle_id == bundle.bundle_id
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == NAMES


def test_a_strangers_bundle_is_served_only_by_a_setting(bundle: Bundle, tmp_path: Path) -> None:
    place = str(tmp_path / "bundle")
    save_bundle(bundle, place, Signer(STRANGER))
    public, key = TRUST.keys[0], public_text(STRANGER.public_key())
    (tmp_path / "keys.pub").write_text(f"# two machines\n{public}\n{key}\n")

    assert code_of(place) == "E_ARTIFACT_UNTRUSTED"
    assert code_of(place, trusted_keys=public) == "E_ARTIFACT_UNTRUSTED"
    for allowed in ({"trusted_keys": key}, {"trusted_keys": str(tmp_path / "keys.pub")}, {"allow_unsigned": True}):
        assert load_bundle(place, load_settings(**allowed)).bundle_id == bundle.bundle_id
    assert load_bundle(place, load_settings(trusted_keys=json.dumps([public, key]))).bundle_id == bundle.bundle_id


def test_the_refusal_names_the_key_and_the_place(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), Signer(STRANGER))

    with pytest.raises(BundleRefused) as refused:
        load_bundle(str(tmp_path), load_settings())

    said = str(refused.value)
    assert f"bundle {tmp_path}: the bundle is signed by key {Signer(STRANGER).key_id}" in said
    assert "trusted_keys" in said and "autosteer sign" in said and "--allow-unsigned" in said


@pytest.mark.parametrize("entry", ["no key", "AAAA", "/dev/null", "A" * 44])
def test_an_entry_that_is_no_key_is_refused(entry: str) -> None:
    with pytest.raises(UserMistake):
        trust_of(load_settings(trusted_keys=entry))


def test_a_file_without_keys_is_no_trust_at_all(tmp_path: Path) -> None:
    (tmp_path / "keys.pub").write_text("# none yet\n")

    with pytest.raises(UserMistake, match="has no public key as entry 1"):
        trust_of(load_settings(trusted_keys=str(tmp_path / "keys.pub")))


def test_signing_lets_an_older_bundle_pass_and_changes_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    files = to_files(bundle)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert code_of(str(tmp_path)) == "E_ARTIFACT_UNTRUSTED"

    sign_bundle(str(tmp_path), signer_of(load_settings()))

    assert load_bundle(str(tmp_path), load_settings()).bundle_id == bundle.bundle_id
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_damaged_bundle_is_not_signed(bundle: Bundle, tmp_path: Path) -> None:
    for name, data in to_files(bundle).items():
        (tmp_path / name).write_bytes(data[:-1])

    with pytest.raises(BundleRefused):
        sign_bundle(str(tmp_path), signer_of(load_settings()))
    assert not (tmp_path / "signature.json").exists()


def test_the_same_bundle_again_is_no_change_and_another_one_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), Signer(OURS))
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    save_bundle(bundle, str(tmp_path), Signer(OURS))
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before

    for other in (replace(bundle, refusal="No."), replace(bundle, head=replace(bundle.head, up=bundle.head.up * 2))):
        with pytest.raises(UserMistake, match="holds another bundle"):
            save_bundle(other, str(tmp_path), Signer(OURS, 9))
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


def test_a_bundle_that_could_not_be_read_again_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    broken = replace(bundle, head=replace(bundle.head, up=bundle.head.up * float("nan")))

    with pytest.raises(BundleRefused, match="head.up holds 128 of 128 values that are NaN"):
        save_bundle(broken, str(tmp_path / "bundle"), Signer(OURS))
    assert not (tmp_path / "bundle").exists()


def test_an_earlier_epoch_is_stale_until_it_is_signed_again(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), signer_of(load_settings(epoch=3)))
    assert code_of(str(tmp_path), least_epoch=4) == "E_ARTIFACT_STALE"
    assert code_of(str(tmp_path), least_epoch=4, allow_unsigned=True) == "E_ARTIFACT_STALE"

    sign_bundle(str(tmp_path), signer_of(load_settings(least_epoch=4)))

    assert load_bundle(str(tmp_path), load_settings(least_epoch=4)).bundle_id == bundle.bundle_id


def test_epochs_do_not_change_a_bundles_id(bundle: Bundle, tmp_path: Path) -> None:
    for epoch in (0, 7):
        save_bundle(bundle, str(tmp_path / str(epoch)), Signer(OURS, epoch))

    cards = {(tmp_path / str(epoch) / "card.json").read_bytes() for epoch in (0, 7)}
    assert len(cards) == 1


def test_workers_trust_what_the_driver_trusts_and_not_their_own_machine(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "bundle")
    save_bundle(bundle, place, signer_of(load_settings()))
    reader = BundleReader(trust_of(load_settings()))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another-machine"))

    assert reader(place).bundle_id == bundle.bundle_id
    assert code_of(place) == "E_ARTIFACT_UNTRUSTED"  # what that machine would say by itself
    own_public_key()
    save_bundle(bundle, str(tmp_path / "its-own"), signer_of(load_settings()))
    with pytest.raises(BundleRefused):
        reader(str(tmp_path / "its-own"))


def test_a_reader_without_trust_reads_nothing(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), signer_of(load_settings()))

    with pytest.raises(BundleRefused, match="trusted are none"):
        BundleReader()(str(tmp_path))


def test_a_worker_refuses_another_trusted_bundle_than_the_run_began_with(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(bundle, refusal="No."), str(tmp_path), Signer(OURS))
    reader = BundleReader(TRUST, {str(tmp_path): str(bundle.bundle_id)})

    with pytest.raises(BundleRefused, match=f"the run began with {bundle.bundle_id}"):
        reader(str(tmp_path))


def test_a_bundle_in_s3_is_signed_and_refused_like_one_in_a_folder(bundle: Bundle, s3_address: str) -> None:
    save_bundle(bundle, s3_address, Signer(STRANGER))
    assert code_of(s3_address) == "E_ARTIFACT_UNTRUSTED"

    sign_bundle(s3_address, signer_of(load_settings()))

    assert load_bundle(s3_address, load_settings()).bundle_id == bundle.bundle_id
    assert set(open_store(s3_address).keys()) == NAMES


def test_a_pipe_in_place_of_a_file_is_refused_at_once(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, str(tmp_path), Signer(OURS))
    (tmp_path / "card.json").unlink()
    os.mkfifo(tmp_path / "card.json")

    with pytest.raises(UserMistake, match="is a pipe, expected a plain file") as refused:
        load_bundle(str(tmp_path), load_settings())
    assert refused.value.code == "E_PATH"


def test_a_file_that_is_too_large_is_not_read(bundle: Bundle, tmp_path: Path) -> None:
    """A sparse file of 2 TB: reading it would take hours."""
    save_bundle(bundle, str(tmp_path), Signer(OURS))
    os.truncate(tmp_path / "weights.safetensors", 2**41)

    with pytest.raises(UserMistake, match="has 2,199,023,255,552 bytes, expected at most") as refused:
        load_bundle(str(tmp_path), load_settings())
    assert refused.value.code == "E_ARTIFACT_CORRUPT"


def test_a_keys_name_is_short_and_its_own() -> None:
    assert key_id(TRUST.keys[0]) == Signer(OURS).key_id != Signer(STRANGER).key_id
    assert "private" not in repr(Signer(OURS)).lower() and "0x" not in repr(Signer(OURS))


def test_trusted_keys_may_stand_in_a_settings_file(tmp_path: Path) -> None:
    """They are public: the guard against secrets in files leaves them alone."""
    (tmp_path / "a.toml").write_text(f'trusted_keys = ["{TRUST.keys[0]}"]\n')
    (tmp_path / "a.yaml").write_text(f"trusted_keys:\n  - {TRUST.keys[0]}\n")

    for name in ("a.toml", "a.yaml"):
        assert TRUST.keys[0] in trust_of(load_settings(tmp_path / name)).keys
