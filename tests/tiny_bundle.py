"""A bundle with random weights that fits the tiny model."""

import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.guarantee import Guarantee
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Pooling, Site

WIDTH = 32
REPORT = {
    "layer_choice": {"layers": [1, 2, 3, 4], "recall": {"text": [0.1, 0.9, 0.8, 0.7]}, "score": [0.1, 0.2, 0.3, 0.2]},
    "probe": {},
}


def tiny_bundle(backbone: Backbone, threshold: float = 0.5, layer: int = 2, gate_action: str = "steer") -> Bundle:
    """Its probe splits prompts by chance, its head is strong enough to change every greedy token."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    probe = Probe(
        mean=torch.zeros(WIDTH),
        scale=torch.ones(WIDTH),
        inner_weight=random(8, WIDTH),
        inner_bias=random(8),
        outer_weight=random(8),
        outer_bias=torch.tensor(0.0),
        temperature=torch.tensor(8.0),
    )
    head = RefusalHead(random(WIDTH, 4), random(WIDTH, 4), epsilon=0.1)
    guarantee = Guarantee(threshold, 0.1, 0.05, 60, 0, 0.05, 60, 3, 0.13)
    sites = (Site(layer, Pooling.LAST),)
    return Bundle(backbone.fingerprint, sites, probe, head, guarantee, "Sorry, I can't.", gate_action, REPORT)
