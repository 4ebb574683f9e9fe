"""Risks that a bundle's probe must give: read anew wherever it is loaded, so that other arithmetic is noticed."""

import math
from dataclasses import replace
from hashlib import shake_256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autosteer_core.bundle import Bundle
from autosteer_core.errors import BundleRefused
from autosteer_core.probe import Probe

GOLDEN = "golden"  # in the card's report
ROWS = 16
# Sums of thousands of float32 products differ in their last digits between machines and batch shapes; what is wrong
# differs far more: another weight, a site too many, a mean that was left out.
_TOLERANCE = 1e-3


def with_golden(bundle: Bundle) -> Bundle:
    """The bundle with the risks of its golden rows in its report; equal bundles stay equal."""
    return replace(bundle, report=bundle.report | {GOLDEN: golden_risks(bundle.probe)})


def golden_risks(probe: Probe) -> list[float]:
    """The probe's risks, rounded to 6 digits, of rows within two standard deviations of its own training rows."""
    rows_ND = _standard_rows(len(probe.mean)).to(probe.mean.device) * probe.scale + probe.mean
    return [round(risk, 6) for risk in probe.risk(rows_ND).tolist()]


def check_golden(bundle: Bundle) -> None:
    """Nothing to check where the report names no golden rows.

    Raises:
        BundleRefused: E_ARTIFACT_VALUES, a risk is not what the report says.
    """
    told = bundle.report.get(GOLDEN)
    if told is None:
        return
    found = golden_risks(bundle.probe)
    for row, (expected, risk) in enumerate(zip(_checked(told), found, strict=True)):
        if not abs(risk - expected) <= _TOLERANCE:  # NaN is no agreement
            raise BundleRefused(
                f"golden row {row} of the bundle is read as risk {risk:.6f}, its card says {expected:.6f}: do not "
                "serve it, calibrate the bundle again",
                "E_ARTIFACT_VALUES",
            )


def _checked(told: Any) -> list[float]:
    numbers = isinstance(told, list) and all(type(risk) in (int, float) and math.isfinite(risk) for risk in told)
    if not numbers or len(told) != ROWS:
        raise BundleRefused(
            f"card.json: field report.{GOLDEN} is not {ROWS} risks: calibrate the bundle again", "E_ARTIFACT_FORMAT"
        )
    return list(told)


def _standard_rows(width: int) -> Tensor:
    """(ROWS, width) in [-2, 2), by a hash: the same on every machine, which no generator of a library promises."""
    drawn = shake_256(b"autosteer golden rows 1").digest(2 * ROWS * width)
    values = np.frombuffer(drawn, "<u2").astype(np.float32) / 2**14 - 2
    return torch.from_numpy(values.reshape(ROWS, width))
