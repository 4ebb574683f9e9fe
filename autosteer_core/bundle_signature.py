"""Who vouches for a bundle: an Ed25519 signature over its card and an epoch, and whose signatures count."""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from autosteer_core.bundle_names import CARD, SIGNATURE
from autosteer_core.errors import BundleRefused
from autosteer_core.strict_json import strict_json

_FORMAT = 1
_MOST_BYTES = 1_024
_KEY_BYTES = 32
MOST_EPOCH = 2**53  # the largest that every JSON reader keeps exactly
_KEY_ID = re.compile("[0-9a-f]{16}")
_PURPOSE = b"autosteer bundle signature 1\n"  # so that a signature made for anything else never passes for this one


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose bundles are served. `keys` are public keys as base64 of 32 bytes; plain values, so that it travels.

    A signature whose epoch is below `least_epoch` is an old one played again. Without signatures the epoch is 0.
    """

    keys: tuple[str, ...] = ()
    allow_unsigned: bool = False
    least_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the epoch that its signatures say."""

    key: Ed25519PrivateKey = field(repr=False)
    epoch: int = 0

    @property
    def key_id(self) -> str:
        """The name of its public key."""
        return key_id(public_text(self.key.public_key()))

    def signature(self, card: bytes) -> bytes:
        """`signature.json` for a card; equal cards give equal bytes."""
        signed = self.key.sign(_message(card, self.epoch))
        return _rendered(self.key_id, self.epoch, signed)


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as settings hold it: base64 of its 32 bytes."""
    return b64encode(key.public_bytes_raw()).decode()


def is_public_key(text: str) -> bool:
    """Whether it is base64, as `public_text` writes it, of a key's 32 bytes."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return False
    return len(raw) == _KEY_BYTES and b64encode(raw).decode() == text


def key_id(public: str) -> str:
    """A public key's short name: 16 hex digits of its SHA-256."""
    return hashlib.sha256(b64decode(public)).hexdigest()[:16]


def signed_epoch(files: Mapping[str, bytes], trust: Trust) -> int:
    """The epoch of a signature that counts; 0 where `trust` lets a bundle pass without one.

    Raises:
        BundleRefused: E_ARTIFACT_UNTRUSTED without such a signature, E_ARTIFACT_STALE for an epoch that is over.
    """
    try:
        epoch = _verified(files, {key_id(key): key for key in trust.keys})
    except BundleRefused:
        if not trust.allow_unsigned:
            raise
        epoch = 0
    if epoch < trust.least_epoch:
        raise BundleRefused(
            f"the bundle's signature is of epoch {epoch}, expected {trust.least_epoch} or later: take a newer one, "
            "or sign this one again if it shall be served",
            "E_ARTIFACT_STALE",
        )
    return epoch


def _verified(files: Mapping[str, bytes], trusted: Mapping[str, str]) -> int:
    data = files.get(SIGNATURE)
    if data is None or CARD not in files:
        raise _untrusted("the bundle has no signature.json")
    signature = _Signature.read(data)
    if signature.key not in trusted:
        raise _untrusted(f"the bundle is signed by key {signature.key}, trusted are {', '.join(trusted) or 'none'}")
    key = Ed25519PublicKey.from_public_bytes(b64decode(trusted[signature.key]))
    try:
        key.verify(signature.signed, _message(files[CARD], signature.epoch))
    except InvalidSignature:
        raise _untrusted(f"card.json is not what key {signature.key} has signed") from None
    return signature.epoch


@dataclass(frozen=True, slots=True)
class _Signature:
    key: str
    epoch: int
    signed: bytes

    @classmethod
    def read(cls, data: bytes) -> "_Signature":
        """One signature has one form: other bytes that decode to the same are refused, so no flipped bit passes."""
        try:
            found = _small_json(data)
            signature = cls(found["key"], found["epoch"], b64decode(found["signature"], validate=True))
            if signature.sound and _rendered(signature.key, signature.epoch, signature.signed) == data:
                return signature
        except (KeyError, TypeError, ValueError):
            pass
        raise _untrusted("signature.json is not in the form that `autosteer sign` writes")

    @property
    def sound(self) -> bool:
        """JSON has more types than we write, and a key is said to a person."""
        return bool(_KEY_ID.fullmatch(self.key)) and type(self.epoch) is int and 0 <= self.epoch <= MOST_EPOCH


def _small_json(data: bytes) -> Any:
    if len(data) > _MOST_BYTES:
        raise ValueError("too long")
    return strict_json(data)


def _rendered(key: str, epoch: int, signed: bytes) -> bytes:
    values = {"format": _FORMAT, "key": key, "epoch": epoch, "signature": b64encode(signed).decode()}
    return json.dumps(values, indent=1).encode()


def _message(card: bytes, epoch: int) -> bytes:
    return _PURPOSE + str(epoch).encode() + b"\n" + card


def _untrusted(what: str) -> BundleRefused:
    return BundleRefused(
        f"{what}: add its maker's public key (`autosteer keys` there) to the setting trusted_keys, run "
        "`autosteer sign` here if you know where it is from, or give --allow-unsigned",
        "E_ARTIFACT_UNTRUSTED",
    )
