"""Bundles that must not serve: every kind of damage and forgery, as files, with the code of its refusal.

Each is made from one good bundle. Where it can be, it is signed by the trusted key, so that what refuses it is the
check that it is there for.
"""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors.torch import load
from torch import Tensor

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import to_files
from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.second_look import SecondLook
from tests.bundle_bytes import STRANGER, Files, card_with, signed, weights_with, with_header, with_weights
from tests.tiny_bundle import tiny_bundle

EPOCH = 5
FINGERPRINT = "a" * 64
MARKER = Path(gettempdir(), f"marker-of-a-pickle-{os.getpid()}")
AT_OURS = partial(signed, epoch=EPOCH)


@dataclass(frozen=True, slots=True)
class Bad:
    """`place` must stand in what is said."""

    number: int
    name: str
    files: Files
    code: str
    place: str


class Marker:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(MARKER), "w")


@cache
def good() -> Files:
    """A signed bundle of two groups and a slice."""
    backbone = cast(Backbone, SimpleNamespace(fingerprint=FINGERPRINT))
    bundle = tiny_bundle(backbone)
    return AT_OURS(to_files(replace(bundle, refusals={"text": "No."})))


@cache
def good_with_look() -> Files:
    backbone = cast(Backbone, SimpleNamespace(fingerprint=FINGERPRINT))
    bundle, other = tiny_bundle(backbone), tiny_bundle(backbone)
    return AT_OURS(to_files(replace(bundle, second_look=SecondLook(other.probe, 0.5, 4))))


@cache
def bad_bundles() -> list[Bad]:
    """All of them, kinds 64 to 74."""
    return [*_damaged(), *_foreign(), *_forged(), *_values(), *_shapes(), *_names(), *_cards(), *_thresholds()]


def _damaged() -> Iterator[Bad]:
    """The weights are not what was signed, and show it by themselves."""
    weights, corrupt = good()[WEIGHTS], partial(_with_raw_weights, code="E_ARTIFACT_CORRUPT", place=WEIGHTS)
    yield corrupt(64, "empty weights", b"")
    yield corrupt(64, "weights cut in the middle", weights[: len(weights) // 2])
    yield corrupt(64, "weights cut by a byte", weights[:-1])
    yield corrupt(64, "weights cut in the length", weights[:5])
    yield corrupt(64, "a byte after the weights", weights + b"\0")
    yield corrupt(64, "a page of bytes after the weights", weights + bytes(4096))
    yield corrupt(65, "a header of 2 to the 40", (2**40).to_bytes(8, "little") + weights[8:])
    yield corrupt(65, "a header of 2 to the 64", b"\xff" * 8 + weights[8:])
    yield corrupt(65, "a header of 2 MB", (2**21).to_bytes(8, "little") + b"{" + b" " * 99)
    yield _consistent(64, "no tensors", b"\2\0\0\0\0\0\0\0{}", "E_ARTIFACT_TENSORS", "9 missing")
    yield Bad(64, "no weights", {name: good()[name] for name in (CARD, SIGNATURE)}, "E_ARTIFACT_CORRUPT", WEIGHTS)
    for name, change in {
        "metadata of many letters": lambda found: found | {"__metadata__": {"a": "x" * 5_000}},
        "metadata of a number": lambda found: found | {"__metadata__": {"a": 1}},
        "metadata of many texts": lambda found: found | {"__metadata__": {str(i): "" for i in range(99)}},
        "metadata that is a list": lambda found: found | {"__metadata__": ["a"]},
    }.items():
        yield _header(73, name, change, "E_ARTIFACT_CORRUPT", "__metadata__")
    yield _header(65, "offsets beyond the end", _moved(10**6), "E_ARTIFACT_CORRUPT", "describes")
    yield _header(65, "offsets below zero", _moved(-8), "E_ARTIFACT_CORRUPT", "impossible")
    yield _header(65, "tensors over one another", _overlapping, "E_ARTIFACT_CORRUPT", WEIGHTS)


def _foreign() -> Iterator[Bad]:
    """Other formats under the name of safetensors: consistent and signed, and still not read."""
    plain = pickle.dumps({"probe.mean": Marker()})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", plain)
    saved = io.BytesIO()
    torch.save({"probe.mean": torch.ones(2)}, saved)
    formats = {
        "a pickle": plain,
        "a pickle of protocol 0": pickle.dumps({"a": Marker()}, protocol=0),
        "a pickle of protocol 2": pickle.dumps({"a": Marker()}, protocol=2),
        "a zip with a pickle": archive.getvalue(),
        "a file of torch.save": saved.getvalue(),
        "a joblib file with zlib": b"x\x9c" + bytes(64),
        "a joblib file with gzip": b"\x1f\x8b\x08" + bytes(64),
        "a GGUF file": b"GGUF\3\0\0\0" + bytes(64),
        "an ONNX file": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(64),
        "a NumPy file": b"\x93NUMPY\1\0" + bytes(64),
        "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "an error page": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    }
    for name, data in formats.items():
        yield _consistent(66, name, data, "E_ARTIFACT_FORMAT", "no other format is read")


def _forged() -> Iterator[Bad]:
    """Sound bundles that the wrong person made, or that came at the wrong time."""
    untrusted, files = partial(Bad, 67, code="E_ARTIFACT_UNTRUSTED"), good()
    weights = bytearray(files[WEIGHTS])
    weights[-5] ^= 1
    yield untrusted("one bit of the weights", files | {WEIGHTS: bytes(weights)}, place="does not match its card")
    yield untrusted("no signature", {name: files[name] for name in (CARD, WEIGHTS)}, place=SIGNATURE)
    yield untrusted("signed by a stranger", signed(files, STRANGER, EPOCH), place="is signed by key")
    yield untrusted("a changed card", card_with(files, epsilon=0.2), place="is not what key")
    yield untrusted("an empty card", files | {CARD: b""}, place=CARD)
    yield untrusted("an empty signature", files | {SIGNATURE: b""}, place=SIGNATURE)
    yield untrusted("a long signature", files | {SIGNATURE: files[SIGNATURE] + b" " * 2_000}, place=SIGNATURE)
    yield untrusted("the signature of another card", files | {SIGNATURE: good_with_look()[SIGNATURE]}, place=CARD)
    found = json.loads(files[SIGNATURE])
    for name, change in {
        "a later epoch than was signed": {"epoch": EPOCH + 1},
        "an epoch that is a text": {"epoch": str(EPOCH)},
        "a stranger's signature under our name": {
            "signature": json.loads(signed(files, STRANGER)[SIGNATURE])["signature"]
        },
        "a key that is no text": {"key": [1]},
        "another version": {"format": 2},
    }.items():
        data = json.dumps(found | change, indent=1).encode()
        yield untrusted(name, files | {SIGNATURE: data}, place="sign")
    yield Bad(72, "an earlier epoch", signed(files, epoch=EPOCH - 1), "E_ARTIFACT_STALE", f"epoch {EPOCH - 1}")
    yield Bad(72, "no epoch", signed(files, epoch=0), "E_ARTIFACT_STALE", "epoch 0")


def _values() -> Iterator[Bad]:
    tensors, refused = load(good()[WEIGHTS]), partial(_tensors, 68, code="E_ARTIFACT_VALUES")
    nan = tensors["probe.mean"].clone()
    nan[7] = float("nan")
    inf = tensors["head.up"].clone()
    inf[3, 1] = float("inf")
    yield refused(
        "one NaN",
        {"probe.mean": nan},
        place="probe.mean holds 1 of 32 values that are NaN or infinite, the first at [7]",
    )
    yield refused(
        "one infinity",
        {"head.up": inf},
        place="head.up holds 1 of 128 values that are NaN or infinite, the first at [3, 1]",
    )
    yield refused("NaN in a scalar", {"probe.outer_bias": torch.tensor(float("nan"))}, place="probe.outer_bias")
    for name in ("probe.inner_weight", "probe.outer_weight", "head.down", "head.up"):
        yield refused(f"{name} all zero", {name: torch.zeros_like(tensors[name])}, place=name)
    yield refused(
        "a norm of a million", {"head.up": tensors["head.up"] * 1e6 / tensors["head.up"].norm()}, place="head.up"
    )
    yield refused("a scale of zero", {"probe.scale": torch.zeros(32)}, place="probe.scale")
    yield refused("a scale below zero", {"probe.scale": -torch.ones(32)}, place="probe.scale")
    yield refused("a temperature below zero", {"probe.temperature": torch.tensor(-1.0)}, place="probe.temperature")
    yield refused("a huge mean", {"probe.mean": torch.full((32,), 1e20)}, place="probe.mean")


def _shapes() -> Iterator[Bad]:
    tensors, refused = load(good()[WEIGHTS]), partial(_tensors, 69, code="E_ARTIFACT_SHAPE")
    yield refused("half a probe", {"probe.mean": torch.ones(16)}, place="probe.mean")
    yield refused("a flat head", {"head.down": torch.ones(128)}, place="head.down")
    yield refused("another rank", {"head.up": torch.ones(32, 5)}, place="head.up")
    yield refused("another width", {"head.up": torch.ones(64, 4), "head.down": torch.ones(64, 4)}, place="probe.mean")
    yield refused(
        "an empty matrix", {"head.up": torch.ones(32, 0), "head.down": torch.ones(32, 0)}, place="head.down"
    )
    yield refused("half precision", {"head.up": tensors["head.up"].half()}, place="head.up")
    yield refused("doubles", {"probe.mean": tensors["probe.mean"].double()}, place="probe.mean")
    yield refused("whole numbers", {"probe.mean": torch.ones(32, dtype=torch.int64)}, place="probe.mean")
    site = {"layer": 2, "pooling": "last"}
    for name, sites in {
        "two sites for one": [site, site],
        "no sites": [],
        "layer 0": [site | {"layer": 0}],
        "layer 10 to the 9": [site | {"layer": 10**9}],
        "half a layer": [site | {"layer": 2.5}],
        "an unknown pooling": [site | {"pooling": "max"}],
    }.items():
        yield _card(69, name, "E_ARTIFACT_SHAPE", "sites", sites=sites)


def _names() -> Iterator[Bad]:
    refused = partial(_tensors, 70, code="E_ARTIFACT_TENSORS")
    yield refused("a tensor is missing", {"head.up": None}, place="head.up")
    yield refused("a tensor is too many", {"head.extra": torch.ones(1)}, place="head.extra")
    yield refused(
        "a second look that the card has not", {"second_look.mean": torch.ones(32)}, place="second_look.mean"
    )
    yield _card(
        70,
        "a second look without tensors",
        "E_ARTIFACT_TENSORS",
        "second_look",
        second_look={"threshold": 0.5, "every": 4},
    )
    yield Bad(70, "a name twice", AT_OURS(with_header(good(), _twice)), "E_ARTIFACT_TENSORS", "head.up")


def _twice(header: bytes) -> bytes:
    """Safetensors itself reads this, and takes one of the two."""
    return header.replace(
        b'{"head.down"', b'{"head.up":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"head.down"', 1
    )


def _cards() -> Iterator[Bad]:
    """Fields of the card: the table has no kind for them but that of the format."""
    refused = partial(_card, 66, code="E_ARTIFACT_FORMAT")
    yield refused("another version", place="format 3", format=3)
    yield refused("an unknown field", place="pickle_file", pickle_file="weights.pkl")
    yield refused("a fingerprint that is none", place="fingerprint", fingerprint="../../etc/passwd")
    yield refused("an edit that undoes refusals", place="epsilon", epsilon=-0.1)
    yield refused("a boundless edit", place="epsilon", epsilon=1e30)
    yield refused("an edit that is NaN", place="epsilon", epsilon=float("nan"))
    yield refused("a head that never acts", place="steered_tokens", steered_tokens=0)
    yield refused("an unknown action", place="gate_action", gate_action="answer")
    yield refused("no words to refuse with", place="refusal", refusal="")
    yield refused("a report that is a list", place="report", report=[])
    yield refused("a refusal that is a number", place="refusals.text", refusals={"text": 1})
    card = json.loads(good()[CARD])
    card.pop("gate_action")
    yield _raw_card(66, "a missing field", json.dumps(card).encode(), "E_ARTIFACT_FORMAT", "gate_action is missing")
    text = good()[CARD]
    twice = text.replace(b'"epsilon"', b'"epsilon": 9, "epsilon"', 1)
    yield _raw_card(64, "a field twice", twice, "E_ARTIFACT_CORRUPT", "'epsilon' comes twice")
    yield _raw_card(64, "half a card", text[: len(text) // 2], "E_ARTIFACT_CORRUPT", CARD)
    yield _raw_card(64, "a card of no JSON", b"\xff\xfe card", "E_ARTIFACT_CORRUPT", CARD)
    yield _raw_card(64, "a deep card", b"[" * 20_000, "E_ARTIFACT_CORRUPT", CARD)


def _thresholds() -> Iterator[Bad]:
    card = json.loads(good()[CARD])
    refused = partial(_card, 74, code="E_THRESHOLDS")
    for name, value in {
        "1.7": 1.7,
        "-0.1": -0.1,
        "NaN": float("nan"),
        "infinity": float("inf"),
        "a text": "0.5",
    }.items():
        guarantee = card["guarantee"] | {"threshold": value}
        yield refused(f"threshold {name}", place="guarantee.threshold", guarantee=guarantee)
    yield refused("a slice of 1.7", place="slices.text", slices={"text": card["guarantee"] | {"threshold": 1.7}})
    yield refused("an unknown modality", place="slices.smell", slices={"smell": card["guarantee"]})
    yield refused(
        "a guarantee of a threshold alone", place="guarantee.alpha is missing", guarantee={"threshold": 0.5}
    )
    yield refused("a share above one", place="guarantee.bound", guarantee=card["guarantee"] | {"bound": 1.1})
    yield refused("a count below zero", place="guarantee.missed", guarantee=card["guarantee"] | {"missed": -1})
    look = {"threshold": 2, "every": 4}
    files = AT_OURS(card_with(good_with_look(), second_look=look))
    yield Bad(74, "a second look at 2", files, "E_THRESHOLDS", "second_look.threshold")


def _with_raw_weights(number: int, name: str, weights: bytes, code: str, place: str) -> Bad:
    return Bad(number, name, good() | {WEIGHTS: weights}, code, place)


def _consistent(number: int, name: str, weights: bytes, code: str, place: str) -> Bad:
    return Bad(number, name, AT_OURS(with_weights(good(), weights)), code, place)


def _header(number: int, name: str, change: Callable[[Any], Any], code: str, place: str) -> Bad:
    files = with_header(good(), lambda header: json.dumps(change(json.loads(header))).encode())
    return Bad(number, name, AT_OURS(files), code, place)


def _moved(by: int) -> Callable[[Any], Any]:
    def change(found: Any) -> Any:
        begin, end = found["head.up"]["data_offsets"]
        found["head.up"]["data_offsets"] = [begin + by, end + by] if by > 0 else [by, end]
        return found

    return change


def _overlapping(found: Any) -> Any:
    found["head.up"]["data_offsets"] = found["head.down"]["data_offsets"]
    return found


def _tensors(number: int, name: str, tensors: dict[str, Tensor | None], code: str, place: str) -> Bad:
    return Bad(number, name, AT_OURS(weights_with(good(), tensors)), code, place)


def _card(number: int, name: str, code: str, place: str, **fields: Any) -> Bad:
    return Bad(number, name, AT_OURS(card_with(good(), **fields)), code, place)


def _raw_card(number: int, name: str, card: bytes, code: str, place: str) -> Bad:
    return Bad(number, name, AT_OURS(good() | {CARD: card}), code, place)
