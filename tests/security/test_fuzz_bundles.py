"""Thousands of changed bundles: with signatures none is accepted, without them none does more than be refused."""

import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load

from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_slot import BundleSlot
from autosteer_core.errors import BundleRefused
from tests.bundle_bytes import STRANGER, TRUST, Files, signed, with_weights
from tests.security.bad_bundles import EPOCH, good, good_with_look
from tests.security.scale import SEED, scaled

pytestmark = pytest.mark.security
STRICT = replace(TRUST, least_epoch=EPOCH)
ANYBODY = replace(TRUST, allow_unsigned=True)
MUTATIONS = scaled(6_000)
STRANGE = [None, True, -1, 0, 1e309, 2**70, "", "x" * 300, [], {}, [[]], {"a": None}, "\0", "\ud800", float("nan")]


def flipped(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(random.choice([1, 1, 1, 2, 8])):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return files | {name: bytes(data)}


def cut(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    return files | {name: files[name][: random.randrange(len(files[name]))]}


def lengthened(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    place, more = random.randrange(len(files[name]) + 1), random.randbytes(random.randrange(1, 40))
    return files | {name: files[name][:place] + more + files[name][place:]}


def field_changed(files: Files, random: Random) -> Files:
    """Any field at any depth of the card or of the signature."""
    name = random.choice([CARD, CARD, CARD, SIGNATURE])
    value = json.loads(files[name])
    _change_inside(value, random)
    return files | {name: json.dumps(value, indent=1).encode()}


def _change_inside(value: Any, random: Random) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = random.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and random.random() < 0.7:
        _change_inside(value[key], random)
    elif random.random() < 0.2:
        del value[key]
    elif isinstance(value, dict) and random.random() < 0.2:
        value[f"{key}x"] = value[key]
    else:
        value[key] = random.choice(STRANGE)


def header_changed(files: Files, random: Random) -> Files:
    weights = files[WEIGHTS]
    end = 8 + int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8:end])
    _change_inside(header, random)
    text = json.dumps(header).encode()
    return with_weights(files, struct.pack("<Q", len(text)) + text + weights[end:])


def tensor_changed(files: Files, random: Random) -> Files:
    """Any value of any tensor; the card's hash is made to fit."""
    weights = bytearray(files[WEIGHTS])
    begin = 8 + int.from_bytes(weights[:8], "little")
    place = random.randrange((len(weights) - begin) // 4) * 4 + begin
    value = random.choice([float("nan"), float("inf"), -1e30, 1e9, 0.0, random.gauss(0, 1)])
    weights[place : place + 4] = struct.pack("<f", value)
    return with_weights(files, bytes(weights))


def exchanged(files: Files, random: Random) -> Files:
    """A file of another bundle of ours."""
    name = random.choice(sorted(files))
    return files | {name: good_with_look()[name]}


def left_out(files: Files, random: Random) -> Files:
    name = random.choice(sorted(files))
    return {other: data for other, data in files.items() if other != name}


def signed_by_a_stranger(files: Files, random: Random) -> Files:
    return signed(random.choice(CHANGES[3:6])(files, random), STRANGER, random.randrange(2 * EPOCH))


def played_again(files: Files, random: Random) -> Files:
    return signed(files, epoch=random.randrange(EPOCH))


CHANGES: list[Callable[[Files, Random], Files]] = [
    flipped, cut, lengthened, field_changed, header_changed, tensor_changed, exchanged, left_out,
    signed_by_a_stranger, played_again,
]  # fmt: skip


def mutations(count: int) -> list[tuple[str, Files]]:
    random = Random(SEED)
    made = []
    while len(made) < count:
        change = random.choice(CHANGES)
        files = change(good(), random)
        if files != good():
            made.append((change.__name__, files))
    return made


def outcome(files: Mapping[str, bytes], trust: Any) -> str:
    """The code of the refusal; anything that is not one of ours fails the test."""
    try:
        bundle = admit(files, trust).bundle
    except BundleRefused as error:
        assert "\n" not in str(error) and error.code.startswith("E_"), str(error)
        return error.code
    assert all(torch.isfinite(tensor).all() for tensor in [*bundle.probe.tensors().values(), bundle.head.up])
    assert 0 <= bundle.guarantee.threshold <= 1
    return "served"


def test_no_changed_bundle_is_served(report: Callable[[str, object], None]) -> None:
    slot, made = BundleSlot(good(), STRICT), mutations(MUTATIONS)
    held, codes = slot.serving, Counter[str]()
    for name, files in made:
        with pytest.raises(BundleRefused) as refused:
            slot.offer(files)
            pytest.fail(f"{name} was served")
        codes[refused.value.code] += 1
    report("changed bundles, signatures asked for", f"{len(made):,} of {len(made):,} refused: {dict(codes)}")

    assert slot.serving is held
    assert MUTATIONS < 2_000 or set(codes) >= {"E_ARTIFACT_UNTRUSTED", "E_ARTIFACT_CORRUPT", "E_ARTIFACT_STALE"}


def test_without_signatures_a_changed_bundle_is_sound_or_refused(report: Callable[[str, object], None]) -> None:
    found = Counter(outcome(files, ANYBODY) for _, files in mutations(MUTATIONS))
    report("the same, unsigned allowed", dict(found.most_common()))

    # A changed value in the usual range is what only the signature finds: this shows that it is needed.
    assert found["served"] > 0
    assert sum(found.values()) == MUTATIONS


def test_bundles_signed_by_us_are_sound_or_refused(report: Callable[[str, object], None]) -> None:
    """The checks behind the signature, by themselves: our own key signs what a broken calibration might write."""
    random, found = Random(SEED + 1), Counter[str]()
    for _ in range(MUTATIONS // 2):
        files = random.choice([field_changed, header_changed, tensor_changed])(good(), random)
        found[outcome(signed(files, epoch=EPOCH), STRICT)] += 1
    report("changed bundles, signed by the trusted key", dict(found.most_common()))

    assert MUTATIONS < 1_000 or set(found) >= {
        "E_ARTIFACT_CORRUPT", "E_ARTIFACT_TENSORS", "E_ARTIFACT_SHAPE", "E_ARTIFACT_VALUES", "E_THRESHOLDS",
        "E_ARTIFACT_FORMAT",
    }  # fmt: skip


def test_every_bit_of_the_signature_counts() -> None:
    data = good()[SIGNATURE]
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleRefused):
            admit(good() | {SIGNATURE: bytes(changed)}, TRUST)


def test_the_good_bundle_has_the_tensors_that_are_changed() -> None:
    assert len(load(good()[WEIGHTS])) == 9
