"""Labelled activations whose truth is known: harm is a shift along one axis of every site."""

from hashlib import sha256

import numpy as np
import torch

from autosteer_core.material import Material, Origin, Use
from autosteer_core.values import Fingerprint, Pooling, Site

ORIGIN = Origin(Fingerprint("0f" * 32), (Site(2, Pooling.LAST),))
_USES = [Use.THRESHOLD] * 2 + [Use.VALIDATION] + [Use.TRAIN] * 7


def tiny_material(rows: int, gap: float = 3.0, seed: int = 0, origin: Origin = ORIGIN, width: int = 8) -> Material:
    """Every other row is harmful; the first axis of each site tells by `gap`, in units of the noise."""
    generator = np.random.default_rng(seed)
    numbers = np.arange(rows)
    activation_NSD = generator.standard_normal((rows, len(origin.sites), width)).astype(np.float16).astype(np.float32)
    activation_NSD[numbers % 2 == 1, :, 0] += gap
    content_N = np.empty(rows, object)
    content_N[:] = [sha256(f"{seed}/{row}".encode()).digest() for row in numbers]
    half_ND = activation_NSD.reshape(rows, len(origin.sites) * width).astype(np.float16)
    return Material(
        origin=origin,
        activation_ND=torch.from_numpy(half_ND.astype(np.float32)),
        harmful_N=numbers % 2 == 1,
        content_N=content_N,
        item_id_N=np.array([f"item-{row}" for row in numbers]),
        group_N=np.array(["weapons" if row % 4 < 2 else "fraud" for row in numbers]),
        modality_N=np.array(["text" if row % 8 < 4 else "image" for row in numbers]),
        language_N=np.array(["en"] * rows),
        source_N=np.array([f"source-{row % 5}" for row in numbers]),
        unit_N=np.array([f"unit-{seed}-{row // 2}" for row in numbers]),
        labeller_N=np.array(["reviewer:a"] * rows),
        use_N=np.array([_USES[row // 2 % 10].value for row in numbers]),
    )
