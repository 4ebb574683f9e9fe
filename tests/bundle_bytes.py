"""Bundles as somebody would write them who knows the format: changed files whose hashes and signature fit."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import load, save
from torch import Tensor

from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_signature import Signer, Trust, public_text

OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUST = Trust((public_text(OURS.public_key()),))
Files = dict[str, bytes]


def card_with(files: Mapping[str, bytes], **fields: Any) -> Files:
    """Some fields of the card replaced; None is a value like any other."""
    card = json.loads(files[CARD]) | fields
    return {**files, CARD: json.dumps(card, indent=1, sort_keys=True).encode()}


def with_weights(files: Mapping[str, bytes], weights: bytes) -> Files:
    """Other weights, and a card that holds their hash."""
    return card_with({**files, WEIGHTS: weights}, weights_sha256=hashlib.sha256(weights).hexdigest())


def weights_with(files: Mapping[str, bytes], tensors: Mapping[str, Tensor | None]) -> Files:
    """Some tensors replaced, or left out where None is given."""
    changed = {**load(files[WEIGHTS]), **tensors}
    return with_weights(files, save({name: value for name, value in changed.items() if value is not None}))


def with_header(files: Mapping[str, bytes], change: Any) -> Files:
    """The header's text changed by a function, the tensors' bytes as they were."""
    weights = files[WEIGHTS]
    end = 8 + int.from_bytes(weights[:8], "little")
    header = change(weights[8:end])
    return with_weights(files, len(header).to_bytes(8, "little") + header + weights[end:])


def signed(files: Mapping[str, bytes], key: Ed25519PrivateKey = OURS, epoch: int = 0) -> Files:
    """Signed as `autosteer sign` would, without a look at what it is."""
    return {**files, SIGNATURE: Signer(key, epoch).signature(files[CARD])}
