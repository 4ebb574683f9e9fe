"""No bad candidate passes the gates, and most of those that are truly better do."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from autosteer_core import metrics
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_slot import BundleSlot
from autosteer_core.errors import BundleRefused
from autosteer_core.holdout_scores import score
from autosteer_core.material import Material, Use
from autosteer_core.promotion_gates import GateLimits, Refusal, gate
from tests.bundle_bytes import TRUST, signed
from tests.loop.bad_candidates import World, bad_candidates
from tests.loop.harm_world import fitted, labelled_rows
from tests.loop.scale import SEED, scaled

pytestmark = [pytest.mark.loop, pytest.mark.timeout(3600)]
LIMITS = GateLimits()
ROWS = 2000
Report = Callable[[str, object], None]


def measured(bundle: Bundle, rows: Material) -> list[float]:
    """AUROC, recall at 1 % false positives, 1 - calibration error; harm caught and benign passed."""
    scores = score(bundle, rows)
    ranked = [measure(scores.risk_N, scores.harmful_N) for measure in (metrics.auroc, metrics.recall_at_1pct)]
    right_N = scores.gate_N == scores.harmful_N
    calibrated = 1 - metrics.expected_calibration_error(scores.risk_N, scores.harmful_N)
    return [
        *ranked,
        calibrated,
        *(float(right_N[label_N].mean()) for label_N in (scores.harmful_N, ~scores.harmful_N)),
    ]


def test_every_bad_candidate_is_refused_in_every_world_with_the_reason_that_it_is_bad_for(report: Report) -> None:
    worlds = [World.of(SEED + place) for place in range(scaled(3))]
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


def test_a_candidate_of_an_older_epoch_is_refused_where_it_would_take_over() -> None:
    """Epochs are of signatures, so the slot refuses them; the gates have passed the very same bundle."""
    world = World.of(SEED)
    files = to_files(world.current)
    slot = BundleSlot(signed(files, epoch=5), TRUST)

    assert gate(world.current, world.current, world.holdout, LIMITS, world.training) == []
    with pytest.raises(BundleRefused) as refused:
        slot.offer(signed(files, epoch=4))

    assert refused.value.code == "E_ARTIFACT_STALE"
    assert slot.epoch == 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bundles fitted on different rows, the second with noise on its axis."""

    good: Bundle
    poor: Bundle
    holdout: Material

    @classmethod
    def of(cls, seed: int, noise: float) -> "Pair":
        """Both thresholds keep their promise."""
        one, other = (labelled_rows(ROWS, 10 * seed + place) for place in (0, 1))
        holdout = labelled_rows(ROWS, 10 * seed + 2, use=Use.HOLDOUT)
        return cls(fitted(one, seed), fitted(other, seed, noise=noise), holdout)


@cache
def truth() -> Material:
    """Rows that no gate sees."""
    return labelled_rows(10_000, 990_001)


def noise_that_lowers_auroc(fall: float) -> float:
    """On the rows that no gate sees, by a dozen halvings."""
    rows = labelled_rows(ROWS, 1)
    wanted, low, high = measured(fitted(rows), truth())[0] - fall, 0.0, 3.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if measured(fitted(rows, noise=middle), truth())[0] <= wanted else (middle, high)
    return high


@pytest.fixture(scope="module")
def unequal() -> list[Pair]:
    """As many as are asked for whose first bundle is truly better, by about the margin of AUROC.

    Where its risks are truly less calibrated, or its threshold lets more harm pass or stops more benign rows, it is
    better in one respect and worse in another: most are.
    """
    noise = noise_that_lowers_auroc(0.01)
    pairs = (Pair.of(seed, noise) for seed in count(SEED))
    return list(islice((pair for pair in pairs if (gain(pair) > 0).all()), scaled(100)))


def gain(pair: Pair) -> NDArray[np.float64]:
    """Of the first over the second, in all that is measured, on rows that no gate sees."""
    return np.subtract(measured(pair.good, truth()), measured(pair.poor, truth()))


def test_of_candidates_that_are_truly_better_at_least_95_percent_are_accepted(
    unequal: list[Pair], report: Report
) -> None:
    gains = [gain(pair) for pair in unequal]

    found = [gate(pair.good, pair.poor, pair.holdout, LIMITS) for pair in unequal]

    least, mean = np.min(gains, axis=0), np.mean(gains, axis=0)
    report("truly better candidates accepted", told(found))
    report("they are better in AUROC", f"by {least[0]:.3f} at least, {mean[0]:.3f} in the mean")
    report("they are better in recall at 1 %", f"by {least[1]:.3f} at least, {mean[1]:.3f} in the mean")
    # Of few candidates, chance may refuse one more.
    few = float(binom.ppf(0.01, len(unequal), 0.95))
    assert found.count([]) >= (0.95 * len(unequal) if len(unequal) >= 100 else few)


def test_of_candidates_that_are_truly_worse_nearly_all_are_refused(unequal: list[Pair], report: Report) -> None:
    """The holdout shows by chance only by how much; what it shows to be beyond a margin is always refused."""
    worse = [pair for pair in unequal if gain(pair)[0] >= 0.01]

    found = [gate(pair.poor, pair.good, pair.holdout, LIMITS) for pair in worse]

    report("candidates accepted whose AUROC is truly lower by 0.01 or more", told(found))
    assert found.count([]) <= 0.05 * len(worse)


def test_of_candidates_that_are_no_better_and_no_worse_some_are_refused(report: Report) -> None:
    """The price of margins that are small beside what so many rows can show: told here, promised nowhere."""
    pairs = [Pair.of(seed, 0.0) for seed in range(SEED, SEED + scaled(100))]

    found = [gate(pair.poor, pair.good, pair.holdout, LIMITS) for pair in pairs]

    report("equally good candidates accepted", told(found))
    assert found.count([]) > 0


def told(found: Sequence[list[Refusal]]) -> str:
    """How many are accepted, and what was held against the others."""
    codes = Counter(code for each in found for code in {refusal.code for refusal in each})
    return f"{found.count([])} of {len(found)}, against the others: {dict(codes)}"


def test_without_gates_the_regressed_would_have_passed() -> None:
    """The margins refuse, not an accident: without them nobody says what was said against these candidates."""
    world = World.of(SEED)
    open_limits = replace(
        LIMITS, auroc=0.0, calibration_error=1.0, auroc_fall=2.0, recall_fall=2.0, slice_fall=2.0,
        calibration_rise=2.0, stopped_rise=2.0,
    )  # fmt: skip
    by_measure = {"E_GATE_WORSE", "E_GATE_SLICE", "E_GATE_CALIBRATION", "E_GATE_REFUSALS"}
    tried = [bad for bad in bad_candidates() if bad.code in by_measure]
    made = [(bad.code, *bad.make(world)) for bad in tried]

    found = [
        (code, {reason.code for reason in gate(candidate, world.current, world.holdout, open_limits, training)})
        for code, candidate, training in made
    ]

    assert {code for code, _ in found} == by_measure
    assert all(code not in reasons for code, reasons in found)
