"""A world whose truth is known: kinds of harm, slices and sources as Gaussian activations, as many as are asked for.

Harm of a kind is a shift along an axis that all known kinds share and along two of its own, so that a probe that
never saw a kind misses most of it. Where a row comes from shifts it too, whatever its label.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from autosteer_core.bundle import Bundle
from autosteer_core.guarantee import choose_threshold
from autosteer_core.material import Material, Origin, Use
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Fingerprint, Pooling, Site

WIDTH = 12
ORIGIN = Origin(Fingerprint("a" * 64), (Site(2, Pooling.LAST), Site(3, Pooling.MEAN)))
KNOWN, NEW = ("weapons", "fraud", "hate"), "poison"
_KINDS = (*KNOWN, NEW)
LANGUAGE_AXIS, SOURCE_AXIS, MODALITY_AXIS = 8, 9, 10
_LANGUAGES, _MODALITIES = np.array(["de", "en", "fr"]), np.array(["image", "text", "text+image"])


def labelled_rows(
    rows: int, seed: int, kinds: Sequence[str] = KNOWN, use: Use = Use.NONE, labeller: str = "reviewer:ann"
) -> Material:
    """Half of the rows are harmful, in units of two rows of one label."""
    generator = np.random.default_rng(seed)
    unit_N = np.arange(rows) // 2
    harmful_N = unit_N % 2 == 0
    language_N, modality_N = (generator.integers(3, size=rows) for _ in range(2))
    kind_N = np.where(harmful_N, np.array(kinds)[generator.integers(len(kinds), size=rows)], "everyday")
    activation_ND = _activations(generator, kind_N, {LANGUAGE_AXIS: language_N, MODALITY_AXIS: modality_N})
    activation_ND[unit_N % 5 == 4, SOURCE_AXIS] += 3.0
    content_N = np.empty(rows, object)
    content_N[:] = [sha256(f"{seed}/{row}".encode()).digest() for row in range(rows)]
    return Material(
        origin=ORIGIN,
        activation_ND=torch.from_numpy(activation_ND.astype(np.float16).astype(np.float32)),
        harmful_N=harmful_N,
        content_N=content_N,
        item_id_N=np.array([f"item-{seed}-{row}" for row in range(rows)]),
        group_N=kind_N,
        modality_N=_MODALITIES[modality_N],
        language_N=_LANGUAGES[language_N],
        source_N=np.array([f"source-{unit % 5}" for unit in unit_N]),
        unit_N=np.array([f"unit-{seed}-{unit}" for unit in unit_N]),
        labeller_N=np.array([labeller] * rows),
        use_N=np.array([use.value] * rows),
    )


def _activations(
    generator: np.random.Generator, kind_N: NDArray[np.str_], shifts: dict[int, NDArray[np.int64]]
) -> NDArray[np.float64]:
    activation_ND = generator.standard_normal((len(kind_N), len(ORIGIN.sites) * WIDTH))
    for axis, shift_N in shifts.items():
        activation_ND[:, axis] += shift_N
    for place, kind in enumerate(_KINDS):
        here_N = kind_N == kind
        activation_ND[here_N, 0] += 0.0 if kind == NEW else 1.5
        activation_ND[here_N, 1 + place] += 3.0
        activation_ND[here_N, WIDTH + 1 + place] += 2.0
    return activation_ND


def fitted(material: Material, seed: int = 0, alpha: float = 0.1, noise: float = 0.0) -> Bundle:
    """A linear discriminant with Platt scaling, in closed form: gates care for what a probe says, not how it came.

    Rows take the parts of train, validation and threshold by their unit, 6 : 2 : 2. With `noise` the discriminant is
    pulled towards an axis of chance, and calibrated as it then is.
    """
    units, unit_N = np.unique(material.unit_N, return_inverse=True)
    part_N = np.random.default_rng(seed).permutation(len(units))[unit_N]
    train_N, validation_N, threshold_N = (np.isin(part_N % 10, parts) for parts in (range(6), (6, 7), (8, 9)))
    wide_ND = material.activation_ND.double().numpy()
    harmful_N = material.harmful_N
    weight_D = with_chance(_discriminant(wide_ND[train_N], harmful_N[train_N]), noise)
    weight_D, bias = _calibrated(weight_D, wide_ND[validation_N], harmful_N[validation_N])
    probe = linear(weight_D, bias)
    risk_N = probe.risk(material.activation_ND[torch.from_numpy(threshold_N)]).double().numpy()
    held_N = harmful_N[threshold_N]
    guarantee = choose_threshold(risk_N[held_N], risk_N[~held_N], alpha, 0.05)
    head = RefusalHead(torch.ones(WIDTH, 2), torch.ones(WIDTH, 2), 0.1)
    return Bundle(ORIGIN.fingerprint, ORIGIN.sites, probe, head, guarantee, "No.", "steer", {"probe": {}})


def linear(weight_D: NDArray[np.float64], bias: float) -> Probe:
    """ReLU(x) - ReLU(-x) = x."""
    weight = torch.from_numpy(weight_D).float()
    wide = len(weight)
    return Probe(
        mean=torch.zeros(wide),
        scale=torch.ones(wide),
        inner_weight=torch.stack([weight, -weight]),
        inner_bias=torch.zeros(2),
        outer_weight=torch.tensor([1.0, -1.0]),
        outer_bias=torch.tensor(float(bias)),
        temperature=torch.tensor(1.0),
    )


def with_chance(weight_D: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """As long as before, after an axis of chance of `share` its length was added."""
    chance_D = np.random.default_rng(5).standard_normal(len(weight_D))
    mixed_D = weight_D + share * chance_D * np.linalg.norm(weight_D) / np.linalg.norm(chance_D)
    return np.asarray(mixed_D * np.linalg.norm(weight_D) / np.linalg.norm(mixed_D))


def lowered(made: Callable[[float], Bundle], measured: Callable[[Bundle], float], fall: float) -> Bundle:
    """Made with just so much noise that the measure is lower by `fall`, or by the next step beyond."""
    wanted, low, high = measured(made(0.0)) - fall, 0.0, 3.0
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if measured(made(middle)) <= wanted else (middle, high)
    return made(high)


def _discriminant(wide_ND: NDArray[np.float64], harmful_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    classes = [wide_ND[harmful_N], wide_ND[~harmful_N]]
    spread_DD = np.mean([np.cov(rows.T) for rows in classes], axis=0) + 0.05 * np.eye(wide_ND.shape[1])
    return np.asarray(np.linalg.solve(spread_DD, classes[0].mean(axis=0) - classes[1].mean(axis=0)))


def _calibrated(
    weight_D: NDArray[np.float64], wide_ND: NDArray[np.float64], harmful_N: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    raw_N = wide_ND @ weight_D

    def loss(pair: NDArray[np.float64]) -> float:
        logit_N = pair[0] * raw_N + pair[1]
        return float(np.logaddexp(0, np.where(harmful_N, -logit_N, logit_N)).mean())

    slope, bias = minimize(loss, np.array([1.0, -float(raw_N.mean())])).x
    return slope * weight_D, float(bias)
