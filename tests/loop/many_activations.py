"""Labelled activations as many as a year of reviews gives, made block by block."""

import numpy as np
import torch

from autosteer_core.material import Material, Origin
from autosteer_core.values import Pooling, Site
from tests.tiny_material import ORIGIN as TINY
from tests.tiny_material import tiny_material

WIDTH = 576
ORIGIN = Origin(TINY.fingerprint, tuple(Site(layer, Pooling.LAST) for layer in (9, 12, 15, 20)))
_BLOCK = 4096


def many_activations(rows: int) -> Material:
    """Harm shifts a few hundred directions a little, in a world of correlated noise: no axis tells by itself."""
    generator = np.random.default_rng(0)
    told = tiny_material(rows, width=1)
    mixing_DD = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
    shift_SD = generator.standard_normal((len(ORIGIN.sites), WIDTH)).astype(np.float32) * 0.05
    activation_ND = torch.empty(rows, len(ORIGIN.sites) * WIDTH)
    for start in range(0, rows, _BLOCK):
        harmful_B = told.harmful_N[start : start + _BLOCK]
        noise_BSD = generator.standard_normal((len(harmful_B), len(ORIGIN.sites), WIDTH), dtype=np.float32)
        block_BSD = noise_BSD @ mixing_DD + harmful_B[:, None, None] * shift_SD
        activation_ND[start : start + _BLOCK] = torch.from_numpy(block_BSD.reshape(len(harmful_B), -1))
    return Material(ORIGIN, activation_ND, **told.columns())
