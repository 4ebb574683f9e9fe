"""The bundle: probe, Refusal Head, threshold and guarantee as one content-addressed artifact."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle_card import FORMAT
from autosteer_core.bundle_names import CARD, WEIGHTS
from autosteer_core.bundle_tensors import HEAD, LOOK, PROBE
from autosteer_core.errors import BundleRefused
from autosteer_core.guarantee import Guarantee
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.second_look import SecondLook
from autosteer_core.values import BundleId, Fingerprint, Modality, Site


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

    @property
    def sites_in_words(self) -> str:
        """As they stand beside activations that were read there."""
        return ", ".join(map(str, self.sites))

    def threshold(self, modality: Modality) -> float:
        """The gate of an item of this modality opens at risk >= threshold."""
        return self.slices.get(modality, self.guarantee).threshold

    def refusal_for(self, group: str) -> str:
        """The wording for an item of this group."""
        return self.refusals.get(group, self.refusal)

    @property
    def bundle_id(self) -> BundleId:
        """First 16 hex digits of the card's SHA-256; the card holds the weights' SHA-256."""
        return BundleId(hashlib.sha256(to_files(self)[CARD]).hexdigest()[:16])

    def require(self, fingerprint: Fingerprint) -> None:
        """Raise BundleRefused unless the bundle was fitted on exactly this model, processor and dtype."""
        if self.fingerprint != fingerprint:
            raise BundleRefused(
                f"the bundle was fitted on model {self.fingerprint[:12]}, the loaded model is "
                f"{fingerprint[:12]}: name the right model, or run `autosteer calibrate` for this one",
                "E_ARTIFACT_BASE",
            )

    def require_model(self, backbone: Backbone) -> None:
        """Raise BundleRefused unless the loaded model is the bundle's, and has the layers and width that it names.

        The fingerprint says whose bundle it is by its own account; the rest is what a forward pass would stumble on.
        """
        self.require(backbone.fingerprint)
        width, deepest = backbone.model.config.get_text_config().hidden_size, len(backbone.blocks)
        if len(self.head.down) != width or max(self.layers) > deepest:
            raise BundleRefused(
                f"the bundle reads layer {max(self.layers)} of width {len(self.head.down)}, the loaded model has "
                f"{deepest} layers of width {width}: run `autosteer calibrate` for this model",
                "E_ARTIFACT_SHAPE",
            )

    def to(self, device: torch.device | str) -> "Bundle":
        """The same bundle with its tensors on another device."""
        look = self.second_look and replace(self.second_look, probe=self.second_look.probe.to(device))
        return replace(self, probe=self.probe.to(device), head=self.head.to(device), second_look=look)


def to_files(bundle: Bundle) -> dict[str, bytes]:
    """The weights and the card that holds their hash; equal bundles give equal bytes."""
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
    return {WEIGHTS: weights, CARD: json.dumps(card, indent=1, sort_keys=True).encode()}


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    named = {PROBE: bundle.probe.tensors(), HEAD: bundle.head.tensors()}
    if bundle.second_look:
        named[LOOK] = bundle.second_look.probe.tensors()
    return {prefix + name: tensor for prefix, tensors in named.items() for name, tensor in tensors.items()}
