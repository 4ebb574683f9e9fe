"""From a bundle's bytes to the bundle, in one order: who signed it, what it claims, whether the bytes are those."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_card import AGAIN, Card, read_card
from autosteer_core.bundle_names import CARD, WEIGHTS
from autosteer_core.bundle_signature import Trust, signed_epoch
from autosteer_core.bundle_tensors import HEAD, LOOK, PROBE, read_header, read_tensors
from autosteer_core.bundle_values import check_values
from autosteer_core.errors import BundleRefused
from autosteer_core.golden_rows import check_golden
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.second_look import SecondLook
from autosteer_core.values import Fingerprint


@dataclass(frozen=True, slots=True)
class Admitted:
    """A bundle that passed every check; `epoch` is what its signature says, 0 without one."""

    bundle: Bundle
    epoch: int


def admit(files: Mapping[str, bytes], trust: Trust) -> Admitted:
    """Check the signature, then read: nothing of a stranger's bundle is parsed.

    Raises:
        BundleRefused: as `signed_epoch` and `from_files`.
    """
    epoch = signed_epoch(files, trust)
    return Admitted(from_files(files), epoch)


def from_files(files: Mapping[str, bytes]) -> Bundle:
    """Inverse of `to_files`, whoever signed it; the bytes that are hashed are those that are parsed.

    Raises:
        BundleRefused: a file is missing, damaged, of another format, or not the one that the card names; a field,
            name, shape, type or value is not as it must be; golden rows are not read as they were.
    """
    for name in (CARD, WEIGHTS):
        if name not in files:
            raise BundleRefused(f"the bundle has no {name}: {AGAIN}", "E_ARTIFACT_CORRUPT")
    card, weights = read_card(files[CARD]), files[WEIGHTS]
    read_header(weights)  # first, because it tells damage from exchange
    found = hashlib.sha256(weights).hexdigest()
    if found != card.weights_sha256:
        raise BundleRefused(
            f"weights.safetensors does not match its card, its SHA-256 is {found[:12]}, expected "
            f"{card.weights_sha256[:12]}: {AGAIN}",
            "E_ARTIFACT_UNTRUSTED",
        )
    tensors = read_tensors(weights, len(card.sites), card.second_look is not None)
    check_values(tensors)
    bundle = _bundle(card, tensors)
    check_golden(bundle)
    return bundle


def _bundle(card: Card, tensors: Mapping[str, Tensor]) -> Bundle:
    look = card.second_look
    return Bundle(
        fingerprint=Fingerprint(card.fingerprint),
        sites=card.places(),
        probe=Probe.from_tensors(_named(tensors, PROBE)),
        head=RefusalHead.from_tensors(_named(tensors, HEAD), card.epsilon, card.steered_tokens),
        guarantee=card.guarantee.value(),
        refusal=card.refusal,
        gate_action=card.gate_action.value,
        report=card.report,
        slices={modality: found.value() for modality, found in card.slices.items()},
        second_look=SecondLook(Probe.from_tensors(_named(tensors, LOOK)), look.threshold, look.every)
        if look
        else None,
        refusals=card.refusals,
    )


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
