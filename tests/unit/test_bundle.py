"""The bundle as an artifact."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from autosteer_core.bundle import Bundle, from_files, to_files
from autosteer_core.errors import BundleRefused
from autosteer_core.probe import Probe
from autosteer_core.second_look import SecondLook
from autosteer_core.values import Fingerprint
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_llava_onevision())


def test_a_bundle_survives_the_round_trip_with_its_id(bundle: Bundle) -> None:
    again = from_files(to_files(bundle))

    assert again.bundle_id == bundle.bundle_id
    assert torch.equal(again.probe.inner_weight, bundle.probe.inner_weight)
    assert again.guarantee == bundle.guarantee


def test_another_model_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match="fitted on model .*, the loaded model is ffff"):
        bundle.require(Fingerprint("f" * 64))


def changed_weights(bundle: Bundle, **changes: torch.Tensor) -> dict[str, bytes]:
    """The bundle's files with some tensors replaced and the card's hash made to fit, as an attacker would."""
    import hashlib

    files = to_files(bundle)
    weights = save({**load(files["weights.safetensors"]), **{k.replace("__", "."): v for k, v in changes.items()}})
    card = json.loads(files["card.json"]) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    return {"weights.safetensors": weights, "card.json": json.dumps(card).encode()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe__mean": torch.full((32,), float("nan"))}, "NaN or infinity"),
        ({"head__up": torch.randn(16, 4)}, "does not fit"),
        ({"probe__extra": torch.ones(1)}, "extra"),
    ],
)
def test_unusable_weights_are_refused(bundle: Bundle, changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(BundleRefused, match=message):
        from_files(changed_weights(bundle, **changes))


def test_one_flipped_bit_is_refused(bundle: Bundle) -> None:
    files = to_files(bundle)
    weights = bytearray(files["weights.safetensors"])
    weights[-1] ^= 1

    with pytest.raises(BundleRefused, match="do not match its card"):
        from_files(files | {"weights.safetensors": bytes(weights)})


@pytest.mark.parametrize("card", [b"", b"[]", b'{"format": 1}', b'{"format": 9, "weights_sha256": ""}'])
def test_a_card_that_cannot_be_read_is_refused(bundle: Bundle, card: bytes) -> None:
    with pytest.raises(BundleRefused):
        from_files(to_files(bundle) | {"card.json": card})


def test_a_second_look_of_another_width_is_refused(bundle: Bundle) -> None:
    probe = Probe(**{name: tensor.clone() for name, tensor in bundle.probe.tensors().items()})
    narrow = replace(
        probe, mean=probe.mean[:16], scale=probe.scale[:16], inner_weight=probe.inner_weight[:, :16].clone()
    )

    with pytest.raises(BundleRefused, match="second look reads width 16 .* expected 32"):
        from_files(to_files(replace(bundle, second_look=SecondLook(narrow, 0.5, 8))))


def test_a_head_that_never_acts_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match="acts on 0 tokens"):
        from_files(to_files(replace(bundle, head=replace(bundle.head, tokens=0))))


def test_a_threshold_outside_zero_to_one_is_refused(bundle: Bundle) -> None:
    files = to_files(bundle)
    card = json.loads(files["card.json"])
    card["guarantee"]["threshold"] = 1.7

    with pytest.raises(BundleRefused, match="threshold is 1.7"):
        from_files(files | {"card.json": json.dumps(card).encode()})
