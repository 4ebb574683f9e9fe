"""No bad candidate passes the gates, and most of those that are truly better do."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from autosteer_core import metrics
from autosteer_core.bundle import Bundle
from autosteer_core.holdout_scores import score
from autosteer_core.material import Material, Use
from autosteer_core.promotion_gates import GateLimits, gate
from tests.loop.bad_candidates import World, bad_candidates
from tests.loop.harm_world import fitted, labelled_rows, lowered
from tests.loop.scale import SEED, scaled

pytestmark = pytest.mark.loop
LIMITS = GateLimits()
ROWS = 2000
Report = Callable[[str, object], None]


def measured(bundle: Bundle, rows: Material) -> tuple[float, float]:
    """AUROC, and recall at 1 % false positives."""
    scores = score(bundle, rows)
    return metrics.auroc(scores.risk_N, scores.harmful_N), metrics.recall_at_1pct(scores.risk_N, scores.harmful_N)


def test_every_bad_candidate_is_refused_in_every_world_with_the_reason_that_it_is_bad_for(report: Report) -> None:
    worlds = [World.of(SEED + place) for place in range(scaled(5))]
    missed = []
    for world in worlds:
        assert gate(world.current, world.current, world.holdout, LIMITS, world.training) == []
        for bad in bad_candidates():
            candidate, training = bad.make(world)
            reasons = gate(candidate, world.current, world.holdout, LIMITS, training)
            if bad.code not in {reason.code for reason in reasons}:
                missed.append((bad.name, bad.code, [reason.code for reason in reasons]))

    report("bad candidates refused", f"{len(bad_candidates())} kinds in {len(worlds)} worlds, {len(missed)} missed")
    assert len(bad_candidates()) >= 30
    assert missed == []


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bundles fitted on different rows; on 20,000 others the second has an AUROC that is lower by `fall`."""

    good: Bundle
    poor: Bundle
    holdout: Material

    @classmethod
    def of(cls, seed: int, fall: float, truth: Material) -> "Pair":
        """Both thresholds keep their promise."""
        one, other = (labelled_rows(ROWS, 10 * seed + place) for place in (0, 1))
        poor = fitted(other, seed) if fall == 0 else lowered(
            lambda noise: fitted(other, seed, noise=noise), lambda bundle: measured(bundle, truth)[0], fall
        )  # fmt: skip
        return cls(fitted(one, seed), poor, labelled_rows(ROWS, 10 * seed + 2, use=Use.HOLDOUT))


def test_of_candidates_that_are_truly_better_at_least_95_percent_are_accepted(report: Report) -> None:
    """By as much as the margin allows a candidate to be worse, 0.01 of AUROC, on rows that no gate sees."""
    truth, gains, reasons, seeds = labelled_rows(20_000, 990_001), [], Counter(), scaled(100)
    accepted = 0
    for seed in range(SEED, SEED + seeds):
        pair = Pair.of(seed, 0.01, truth)
        gains.append(np.subtract(measured(pair.good, truth), measured(pair.poor, truth)))
        found = gate(pair.good, pair.poor, pair.holdout, LIMITS)
        accepted += not found
        reasons.update({reason.code for reason in found})

    least, mean = np.min(gains, axis=0), np.mean(gains, axis=0)
    report("truly better candidates accepted", f"{accepted} of {seeds}, others refused for {dict(reasons)}")
    report("they are better in AUROC", f"by {least[0]:.3f} at least, {mean[0]:.3f} in the mean")
    report("they are better in recall at 1 %", f"by {least[1]:.3f} at least, {mean[1]:.3f} in the mean")
    assert (least > 0).all()
    assert accepted >= 0.95 * seeds


@pytest.mark.parametrize("fall", [0.01, 0.02])
def test_of_candidates_that_are_truly_worse_nearly_all_are_refused(fall: float, report: Report) -> None:
    """Worse on rows that no gate sees; the holdout shows it by chance only. What it shows is always refused."""
    truth, seeds = labelled_rows(20_000, 990_001), scaled(100)
    pairs = [Pair.of(seed, fall, truth) for seed in range(SEED, SEED + seeds)]

    refused = sum(bool(gate(pair.poor, pair.good, pair.holdout, LIMITS)) for pair in pairs)

    report(f"refused where AUROC is truly lower by {fall}", f"{refused} of {seeds}")
    assert refused >= 0.95 * seeds


def test_of_candidates_that_are_no_better_and_no_worse_some_are_refused(report: Report) -> None:
    """The price of margins that are small beside what so many rows can show: told here, promised nowhere."""
    truth, seeds, reasons = labelled_rows(20_000, 990_001), scaled(100), Counter()
    pairs = [Pair.of(seed, 0.0, truth) for seed in range(SEED, SEED + seeds)]

    found = [gate(pair.poor, pair.good, pair.holdout, LIMITS) for pair in pairs]

    reasons.update(code for each in found for code in {reason.code for reason in each})
    accepted = found.count([])
    report("equally good candidates accepted", f"{accepted} of {seeds}, others refused for {dict(reasons)}")
    assert 0 < accepted < seeds


def test_without_gates_the_regressed_would_have_passed() -> None:
    """The margins and floors refuse, not an accident: with none, the candidates of the last group have no reason."""
    world = World.of(SEED)
    open_limits = replace(
        LIMITS, auroc=0.0, calibration_error=1.0, auroc_fall=2.0, recall_fall=2.0, slice_fall=2.0,
        calibration_rise=2.0, stopped_rise=2.0,
    )  # fmt: skip
    passed = set()
    for bad in bad_candidates():
        candidate, training = bad.make(world)
        if bad.code in {"E_GATE_WORSE", "E_GATE_SLICE", "E_GATE_CALIBRATION", "E_GATE_REFUSALS"}:
            found = gate(candidate, world.current, world.holdout, open_limits, training)
            passed |= {bad.code} if not found else set()

    assert passed == {"E_GATE_WORSE", "E_GATE_SLICE", "E_GATE_CALIBRATION", "E_GATE_REFUSALS"}
