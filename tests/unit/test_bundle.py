"""The bundle as an artifact."""

import json
from dataclasses import replace
from functools import partial
from math import nextafter

import pytest
import torch
from safetensors.torch import load, save

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.errors import BundleRefused
from autosteer_core.probe import Probe
from autosteer_core.second_look import SecondLook
from autosteer_core.values import Fingerprint, Pooling, Site
from tests.bundle_bytes import card_with, weights_with, with_header
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


def test_another_model_is_refused_with_both_fingerprints(bundle: Bundle) -> None:
    with pytest.raises(
        BundleRefused, match=f"fitted on model {bundle.fingerprint[:12]}, the loaded model is ffff"
    ) as e:
        bundle.require(Fingerprint("f" * 64))

    assert e.value.code == "E_ARTIFACT_BASE"


@pytest.mark.parametrize("layer", [4, 5])
def test_a_layer_that_the_model_has_not_is_refused(bundle: Bundle, layer: int) -> None:
    deep = replace(bundle, sites=(Site(layer, Pooling.LAST),))
    if layer == 4:
        deep.require_model(tiny_llava_onevision())
        return
    with pytest.raises(BundleRefused, match="reads layer 5 of width 32, the loaded model has 4 layers of width 32"):
        deep.require_model(tiny_llava_onevision())


@pytest.mark.parametrize(
    ("name", "tensor", "code", "message"),
    [
        (
            "probe.mean",
            torch.full((32,), float("nan")),
            "E_ARTIFACT_VALUES",
            "32 of 32 values that are NaN or infinite",
        ),
        ("head.up", torch.randn(16, 4), "E_ARTIFACT_SHAPE", r"head.up is 'F32' of shape \[16, 4\], expected 'F32'"),
        ("probe.extra", torch.ones(1), "E_ARTIFACT_TENSORS", "has the unknown 'probe.extra'"),
    ],
)
def test_unusable_weights_are_refused(
    bundle: Bundle, name: str, tensor: torch.Tensor, code: str, message: str
) -> None:
    """The card's hash is made to fit, as an attacker would."""
    with pytest.raises(BundleRefused, match=message) as refused:
        from_files(weights_with(to_files(bundle), {name: tensor}))

    assert refused.value.code == code


def test_one_flipped_bit_is_refused(bundle: Bundle) -> None:
    files = to_files(bundle)
    weights = bytearray(files["weights.safetensors"])
    weights[-1] ^= 1

    with pytest.raises(BundleRefused, match="does not match its card"):
        from_files(files | {"weights.safetensors": bytes(weights)})


@pytest.mark.parametrize("card", [b"", b"[]", b'{"format": 1}', b'{"format": 9, "weights_sha256": ""}', b"[" * 9_999])
def test_a_card_that_cannot_be_read_is_refused(bundle: Bundle, card: bytes) -> None:
    with pytest.raises(BundleRefused):
        from_files(to_files(bundle) | {"card.json": card})


def test_a_second_look_of_another_width_is_refused(bundle: Bundle) -> None:
    probe = Probe(**{name: tensor.clone() for name, tensor in bundle.probe.tensors().items()})
    narrow = replace(
        probe, mean=probe.mean[:16], scale=probe.scale[:16], inner_weight=probe.inner_weight[:, :16].clone()
    )

    with pytest.raises(
        BundleRefused, match=r"second_look.mean is 'F32' of shape \[16\], expected 'F32' of shape \[32"
    ):
        from_files(to_files(replace(bundle, second_look=SecondLook(narrow, 0.5, 8))))


def test_a_second_look_that_never_stops_an_answer_can_be_read_again(bundle: Bundle) -> None:
    """What calibration writes where a benign answer was read as exactly 1."""
    probe = Probe(**{name: tensor.clone() for name, tensor in bundle.probe.tensors().items()})
    never = replace(bundle, second_look=SecondLook(probe, nextafter(1.0, 2.0), 8))

    assert from_files(to_files(never)).second_look.threshold > 1


def test_a_head_that_never_acts_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match="field steered_tokens is 0"):
        from_files(to_files(replace(bundle, head=replace(bundle.head, tokens=0))))


@pytest.mark.parametrize("threshold", [1.7, -0.1, float("nan"), True, "0.5", None])
def test_a_threshold_that_is_no_number_from_zero_to_one_is_refused(bundle: Bundle, threshold: object) -> None:
    files = to_files(bundle)
    guarantee = json.loads(files["card.json"])["guarantee"] | {"threshold": threshold}

    with pytest.raises(BundleRefused, match="field guarantee.threshold is") as refused:
        from_files(card_with(files, guarantee=guarantee))

    assert refused.value.code == "E_THRESHOLDS"


def test_a_measured_value_that_is_not_a_number_may_stand_in_the_report(bundle: Bundle) -> None:
    """Where no pairs are, the Safety Awareness Score is NaN."""
    measured = replace(bundle, report={"safety_awareness": [float("nan"), 0.5]})

    assert from_files(to_files(measured)).bundle_id == measured.bundle_id


def test_a_header_of_more_than_a_megabyte_is_refused_before_it_is_parsed(bundle: Bundle) -> None:
    """Blanks after the header are the format's own way to fill up: only their number is wrong."""
    files = to_files(bundle)
    fits, large = (with_header(files, partial(_padded, size)) for size in (2**20, 2**20 + 1))

    assert from_files(fits).head.epsilon == bundle.head.epsilon
    with pytest.raises(BundleRefused, match="a header of 1,048,577 by its own account") as refused:
        from_files(large)
    assert refused.value.code == "E_ARTIFACT_CORRUPT"


def _padded(size: int, header: bytes) -> bytes:
    return header.ljust(size)


def test_a_card_of_more_than_a_megabyte_is_refused(bundle: Bundle) -> None:
    files = to_files(bundle)

    with pytest.raises(BundleRefused, match="expected at most 1,048,576"):
        from_files(files | {"card.json": files["card.json"].ljust(2**20 + 1)})


def test_safetensors_alone_would_take_a_name_twice_and_nan() -> None:
    """Why the checks are ours: the library reads both."""
    data = save({"a": torch.tensor([float("nan"), 2.0])})
    entry = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    header = entry + b',"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'

    twice = load(len(header).to_bytes(8, "little") + header + data[-8:])

    assert list(twice) == ["a"] and torch.isnan(twice["a"][0])
