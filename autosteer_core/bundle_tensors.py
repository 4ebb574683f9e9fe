"""The bundle's weights: exact names, shapes and types, proven from the header before a single number is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from autosteer_core.bundle_card import AGAIN
from autosteer_core.bundle_format import foreign_format
from autosteer_core.errors import BundleRefused
from autosteer_core.strict_json import KeyTwice, strict_json

PROBE, HEAD, LOOK = "probe.", "head.", "second_look."
MOST_BYTES = 2**30  # the paper's form has two square matrices of the model's width: half of this at 8,192
MOST_HEADER_BYTES = 2**20
_LENGTH_BYTES = 8
_MOST_METADATA, _METADATA_LETTERS = 16, 256
_FLOAT32 = 4
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header says of one tensor; offsets count from the end of the header."""

    dtype: str
    shape: Shape
    begin: int
    end: int


def read_tensors(weights: bytes, sites: int, look: bool) -> dict[str, Tensor]:
    """The tensors of a probe over so many sites, a Refusal Head and, where there is one, the second look.

    Raises:
        BundleRefused: damaged bytes, another format, another set of names, another shape or type.
    """
    entries = read_header(weights)
    _check_names(entries, look)
    _check_shapes(entries, sites)
    try:
        found: dict[str, Tensor] = load(weights)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise _corrupt(f"cannot be read ({' '.join(str(error).split())[:200]})") from None
    return found


def read_header(weights: bytes) -> dict[str, Entry]:
    """The header, after what the format itself promises; safetensors accepts one name twice, this does not."""
    if foreign := foreign_format(weights):
        raise BundleRefused(
            f"weights.safetensors is {foreign}, expected safetensors: no other format is read, {AGAIN}",
            "E_ARTIFACT_FORMAT",
        )
    length = int.from_bytes(weights[:_LENGTH_BYTES], "little")
    room = len(weights) - _LENGTH_BYTES
    if room < 0 or length > min(MOST_HEADER_BYTES, room) or len(weights) > MOST_BYTES:
        raise _corrupt(
            f"has {len(weights):,} bytes and a header of {length:,} by its own account, expected at most "
            f"{MOST_BYTES:,} with a header of at most {MOST_HEADER_BYTES:,}"
        )
    entries = _entries(weights[_LENGTH_BYTES : _LENGTH_BYTES + length])
    expected = _LENGTH_BYTES + length + max((entry.end for entry in entries.values()), default=0)
    if len(weights) != expected:
        raise _corrupt(f"has {len(weights):,} bytes, its header describes {expected:,}")
    return entries


def _entries(header: bytes) -> dict[str, Entry]:
    try:
        found = strict_json(header)
    except KeyTwice as twice:
        raise BundleRefused(
            f"weights.safetensors: tensor {twice.key!a} comes twice in the header: {AGAIN}", "E_ARTIFACT_TENSORS"
        ) from None
    except ValueError as error:
        raise _corrupt(f"has an unreadable header ({error})") from None
    if not isinstance(found, dict):
        raise _corrupt(f"has a header that is a {type(found).__name__}, expected an object")
    _check_metadata(found.pop("__metadata__", {}))
    return {name: _entry(name, fields) for name, fields in found.items()}


def _check_metadata(metadata: Any) -> None:
    """We write none; what somebody's tool adds may be a few short texts."""
    small = isinstance(metadata, dict) and len(metadata) <= _MOST_METADATA
    if not small or any(
        not isinstance(text, str) or len(text) > _METADATA_LETTERS for pair in metadata.items() for text in pair
    ):
        raise _corrupt(
            f"has unexpected __metadata__, expected none, or at most {_MOST_METADATA} texts of {_METADATA_LETTERS} "
            "letters"
        )


def _entry(name: str, fields: Any) -> Entry:
    try:
        begin, end = fields["data_offsets"]
        entry = Entry(fields["dtype"], tuple(fields["shape"]), begin, end)
    except (KeyError, TypeError, ValueError):
        raise _corrupt(f"does not say where tensor {name[:60]!a} lies") from None
    numbers = [*entry.shape, begin, end]
    sound = all(type(number) is int and 0 <= number <= MOST_BYTES for number in numbers)
    if not sound or not isinstance(entry.dtype, str) or len(fields) != 3 or begin > end:
        raise _corrupt(f"has an impossible entry for tensor {name[:60]!a}")
    return entry


def _check_names(entries: Mapping[str, Entry], look: bool) -> None:
    expected = set(tensor_names(look))
    missing, extra = sorted(expected - entries.keys()), sorted(entries.keys() - expected)
    if missing or extra:
        said = [f"lacks {name}" for name in missing[:1]] + [f"has the unknown {name[:60]!a}" for name in extra[:1]]
        raise BundleRefused(
            f"weights.safetensors {' and '.join(said)} ({len(missing)} missing, {len(extra)} extra of "
            f"{len(expected)} tensors): {AGAIN}",
            "E_ARTIFACT_TENSORS",
        )


def tensor_names(look: bool) -> Iterator[str]:
    """The whole set, for a bundle with or without a second look."""
    for prefix in (PROBE, LOOK) if look else (PROBE,):
        yield from (prefix + name for name in _probe_shapes(1, 1))
    yield from (HEAD + name for name in ("down", "up"))


def _probe_shapes(width: int, hidden: int) -> dict[str, Shape]:
    return {
        "mean": (width,), "scale": (width,), "inner_weight": (hidden, width), "inner_bias": (hidden,),
        "outer_weight": (hidden,), "outer_bias": (), "temperature": (),
    }  # fmt: skip


def _check_shapes(entries: Mapping[str, Entry], sites: int) -> None:
    for name, shape in _expected_shapes(entries, sites).items():
        entry = entries[name]
        if entry.dtype != "F32" or entry.shape != shape or 0 in shape:
            raise BundleRefused(
                f"weights.safetensors: tensor {name} is {entry.dtype[:12]!a} of shape {list(entry.shape)[:8]}, "
                f"expected 'F32' of shape {list(shape)} for {sites} sites: {AGAIN}",
                "E_ARTIFACT_SHAPE",
            )
        if entry.end - entry.begin != _FLOAT32 * prod(shape):
            raise _corrupt(f"gives tensor {name} {entry.end - entry.begin:,} bytes for shape {list(shape)}")


def _expected_shapes(entries: Mapping[str, Entry], sites: int) -> dict[str, Shape]:
    """The head's first matrix gives the model's width and the rank, a probe's first its hidden width."""
    width, rank = _matrix(entries, HEAD + "down")
    shapes: dict[str, Shape] = {HEAD + "down": (width, rank), HEAD + "up": (width, rank)}
    for prefix in (PROBE, LOOK):
        if prefix + "mean" in entries:
            hidden, _ = _matrix(entries, prefix + "inner_weight")
            shapes |= {prefix + name: shape for name, shape in _probe_shapes(width * sites, hidden).items()}
    return shapes


def _matrix(entries: Mapping[str, Entry], name: str) -> Shape:
    shape = entries[name].shape
    if len(shape) != 2:
        raise BundleRefused(
            f"weights.safetensors: tensor {name} has shape {list(shape)[:8]}, expected two dimensions: {AGAIN}",
            "E_ARTIFACT_SHAPE",
        )
    return shape


def _corrupt(what: str) -> BundleRefused:
    return BundleRefused(f"weights.safetensors {what}: {AGAIN}", "E_ARTIFACT_CORRUPT")
