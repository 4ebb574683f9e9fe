"""The bundle: probe, Refusal Head, threshold and guarantee as one content-addressed artifact."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from autosteer_core.errors import BundleRefused
from autosteer_core.guarantee import Guarantee
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import BundleId, Fingerprint

FORMAT = 1
PROBE_NAMES = frozenset(Probe.__dataclass_fields__)
HEAD_NAMES = frozenset({"down", "up"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that decides and edits, for one base model only.

    `refusal` is the wording of `canned` and `prefix`; `report` is the card's measured part (JSON values only).
    """

    fingerprint: Fingerprint
    layer: int
    probe: Probe
    head: RefusalHead
    guarantee: Guarantee
    refusal: str
    gate_action: str
    report: dict[str, Any]

    @property
    def threshold(self) -> float:
        """The gate opens at risk >= threshold."""
        return self.guarantee.threshold

    @property
    def bundle_id(self) -> BundleId:
        """First 16 hex digits of the card's SHA-256; the card holds the weights' SHA-256."""
        return BundleId(hashlib.sha256(to_files(self)["card.json"]).hexdigest()[:16])

    def require(self, fingerprint: Fingerprint) -> None:
        """Raise BundleRefused unless the bundle was fitted on exactly this model, processor and dtype."""
        if self.fingerprint != fingerprint:
            raise BundleRefused(
                f"the bundle was fitted on model {self.fingerprint[:12]}, the loaded model is "
                f"{fingerprint[:12]}: name the right model, or run `autosteer calibrate` for this one"
            )

    def to(self, device: torch.device | str) -> "Bundle":
        """The same bundle with its tensors on another device."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return Bundle(**values | {"probe": self.probe.to(device), "head": self.head.to(device)})


def to_files(bundle: Bundle) -> dict[str, bytes]:
    """`weights.safetensors` and `card.json`; equal bundles give equal bytes."""
    tensors = {f"probe.{name}": tensor for name, tensor in bundle.probe.tensors().items()}
    tensors |= {f"head.{name}": tensor for name, tensor in bundle.head.tensors().items()}
    weights = save({name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())})
    card = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "fingerprint": bundle.fingerprint,
        "layer": bundle.layer,
        "pooling": "last prompt token",
        "epsilon": bundle.head.epsilon,
        "guarantee": asdict(bundle.guarantee),
        "refusal": bundle.refusal,
        "gate_action": bundle.gate_action,
        "report": bundle.report,
    }
    return {"weights.safetensors": weights, "card.json": json.dumps(card, indent=1, sort_keys=True).encode()}


def from_files(files: dict[str, bytes]) -> Bundle:
    """Inverse of `to_files`, reading only the hashed bytes.

    Raises:
        BundleRefused: missing file, wrong format, changed weights, wrong names, shapes or values.
    """
    card = _card(files)
    weights = files.get("weights.safetensors", b"")
    if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
        raise BundleRefused("the bundle's weights do not match its card: fetch or calibrate the bundle again")
    try:
        tensors = load(weights)
        probe = Probe.from_tensors(_named(tensors, "probe.", PROBE_NAMES))
        head = RefusalHead.from_tensors(_named(tensors, "head.", HEAD_NAMES), float(card["epsilon"]))
        guarantee = Guarantee(**card["guarantee"])
        bundle = Bundle(
            Fingerprint(card["fingerprint"]), int(card["layer"]), probe, head, guarantee,
            str(card["refusal"]), str(card["gate_action"]), dict(card["report"]),
        )  # fmt: skip
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleRefused(f"the bundle cannot be read ({error}): calibrate it again") from error
    _check_values(bundle)
    return bundle


def _card(files: dict[str, bytes]) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(files["card.json"])
        found = card["format"]
        card["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleRefused(f"the bundle has no readable card.json ({error}): calibrate it again") from error
    if found != FORMAT:
        raise BundleRefused(f"the bundle has format {found}, this version reads {FORMAT}: calibrate it again")
    return card


def _named(tensors: dict[str, Tensor], prefix: str, names: frozenset[str]) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if set(found) != names:
        raise KeyError(f"tensors {prefix}{sorted(found)} found, expected {sorted(names)}")
    return found


def _check_values(bundle: Bundle) -> None:
    for name, tensor in (bundle.probe.tensors() | bundle.head.tensors()).items():
        if not torch.isfinite(tensor).all():
            raise BundleRefused(f"tensor {name} of the bundle holds NaN or infinity: calibrate it again")
    width = len(bundle.probe.mean)
    if bundle.head.down.shape != bundle.head.up.shape or bundle.head.down.shape[0] != width:
        raise BundleRefused(f"the bundle's head does not fit its probe of width {width}: calibrate it again")
    if not (math.isfinite(bundle.threshold) and 0 <= bundle.threshold <= 1):
        raise BundleRefused(f"the bundle's threshold is {bundle.threshold}, expected 0 to 1: calibrate it again")
