"""The bundle: probe, Refusal Head, threshold and guarantee as one content-addressed artifact."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from autosteer_core.errors import BundleRefused
from autosteer_core.guarantee import Bounds, Guarantee
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.second_look import SecondLook
from autosteer_core.values import BundleId, Fingerprint, GateAction, Modality, Pooling, Site

FORMAT = 2
PROBE, HEAD, LOOK = "probe.", "head.", "second_look."


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that decides and edits, for one base model only.

    The probe reads `sites` side by side. `slices` holds the thresholds of modalities for which that of `guarantee`
    will not do. `refusal` is the wording of `canned` and `prefix`, `refusals` that of groups with words of their
    own; `report` is the card's measured part (JSON values only).
    """

    fingerprint: Fingerprint
    sites: tuple[Site, ...]
    probe: Probe
    head: RefusalHead
    guarantee: Guarantee
    refusal: str
    gate_action: str
    report: dict[str, Any]
    slices: Mapping[Modality, Guarantee] = field(default_factory=dict)
    second_look: SecondLook | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer of every site, in order: one may come twice."""
        return tuple(site.layer for site in self.sites)

    def threshold(self, modality: Modality) -> float:
        """The gate of an item of this modality opens at risk >= threshold."""
        return self.slices.get(modality, self.guarantee).threshold

    def refusal_for(self, group: str) -> str:
        """The wording for an item of this group."""
        return self.refusals.get(group, self.refusal)

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
        look = self.second_look and replace(self.second_look, probe=self.second_look.probe.to(device))
        return replace(self, probe=self.probe.to(device), head=self.head.to(device), second_look=look)


def to_files(bundle: Bundle) -> dict[str, bytes]:
    """`weights.safetensors` and `card.json`; equal bundles give equal bytes."""
    weights = save({name: tensor.cpu().contiguous() for name, tensor in sorted(_tensors(bundle).items())})
    look = bundle.second_look
    card = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "fingerprint": bundle.fingerprint,
        "sites": [asdict(site) for site in bundle.sites],
        "epsilon": bundle.head.epsilon,
        "steered_tokens": bundle.head.tokens,
        "guarantee": asdict(bundle.guarantee),
        "slices": {str(modality): asdict(found) for modality, found in bundle.slices.items()},
        "second_look": look and {"threshold": look.threshold, "every": look.every},
        "refusal": bundle.refusal,
        "refusals": dict(bundle.refusals),
        "gate_action": bundle.gate_action,
        "report": bundle.report,
    }
    return {"weights.safetensors": weights, "card.json": json.dumps(card, indent=1, sort_keys=True).encode()}


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    named = {PROBE: bundle.probe.tensors(), HEAD: bundle.head.tensors()}
    if bundle.second_look:
        named[LOOK] = bundle.second_look.probe.tensors()
    return {prefix + name: tensor for prefix, tensors in named.items() for name, tensor in tensors.items()}


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
        bundle = _bundle(card, load(weights))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BundleRefused(f"the bundle cannot be read ({error}): calibrate it again") from error
    _check_values(bundle)
    return bundle


def _bundle(card: dict[str, Any], tensors: dict[str, Tensor]) -> Bundle:
    tokens, look = card["steered_tokens"], card["second_look"]
    return Bundle(
        fingerprint=Fingerprint(card["fingerprint"]),
        sites=tuple(Site(int(site["layer"]), Pooling(site["pooling"])) for site in card["sites"]),
        probe=Probe.from_tensors(_named(tensors, PROBE)),
        head=RefusalHead.from_tensors(_named(tensors, HEAD), float(card["epsilon"]), tokens and int(tokens)),
        guarantee=_guarantee(card["guarantee"]),
        refusal=str(card["refusal"]),
        gate_action=GateAction(card["gate_action"]).value,
        report=dict(card["report"]),
        slices={Modality(name): _guarantee(found) for name, found in card["slices"].items()},
        second_look=look and SecondLook(Probe.from_tensors(_named(tensors, LOOK)), look["threshold"], look["every"]),
        refusals={str(group): str(text) for group, text in card["refusals"].items()},
    )


def _guarantee(values: dict[str, Any]) -> Guarantee:
    return Guarantee(**values | {"bounds": Bounds(values["bounds"])})


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


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_values(bundle: Bundle) -> None:
    for name, tensor in _tensors(bundle).items():
        if not torch.isfinite(tensor).all():
            raise BundleRefused(f"tensor {name} of the bundle holds NaN or infinity: calibrate it again")
    width = len(bundle.probe.mean)
    if bundle.head.down.shape != bundle.head.up.shape or len(bundle.head.down) * len(bundle.layers) != width:
        raise BundleRefused(
            f"the bundle's head does not fit its probe of width {width} over {len(bundle.layers)} layers: "
            "calibrate it again"
        )
    look = bundle.second_look
    if look is not None and (len(look.probe.mean) != width or look.every < 1):
        raise BundleRefused(
            f"the bundle's second look reads width {len(look.probe.mean)} every {look.every} tokens, expected "
            f"{width} every 1 or more: calibrate it again"
        )
    if bundle.head.tokens is not None and bundle.head.tokens < 1:
        raise BundleRefused(
            f"the bundle's head acts on {bundle.head.tokens} tokens, expected 1 or more: calibrate it again"
        )
    for guarantee in (bundle.guarantee, *bundle.slices.values()):
        if not (math.isfinite(guarantee.threshold) and 0 <= guarantee.threshold <= 1):
            raise BundleRefused(
                f"the bundle's threshold is {guarantee.threshold}, expected 0 to 1: calibrate it again"
            )
