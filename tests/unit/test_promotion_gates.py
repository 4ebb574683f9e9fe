"""The gates on small holdouts: what they ask first, what they say, and that they say all of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_comparison import WHOLE, Against, comparisons
from autosteer_core.guarantee import Guarantee, upper_limit
from autosteer_core.holdout_scores import score, slices
from autosteer_core.material import Material, Origin, Use
from autosteer_core.paired_difference import Difference
from autosteer_core.probe import Probe
from autosteer_core.promotion_gates import GateLimits, Training, gate
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Fingerprint, Modality
from tests.tiny_material import ORIGIN, tiny_material

LIMITS = GateLimits(draws=100, sure_rows=100)
STRICT = {Against.UNPROVEN, Against.MEASURED}
HOLDOUT = tiny_material(400, gap=4.0)


def bundle(weight: float = 4.0, bias: float = -8.0, axis: int = 0, threshold: float = 0.5) -> Bundle:
    """Its logit is that axis times the weight, plus the bias: the truth lies on axis 0, harm around 4."""
    weight_2D = torch.zeros(2, 8)
    weight_2D[0, axis], weight_2D[1, axis] = weight, -weight
    ends = (torch.zeros(2), torch.tensor([1.0, -1.0]), torch.tensor(bias), torch.tensor(1.0))
    probe = Probe(torch.zeros(8), torch.ones(8), weight_2D, *ends)
    limits = [upper_limit(wrong, 300, 0.05) for wrong in (10, 20)]
    guarantee = Guarantee(threshold, 0.1, 0.05, 300, 10, limits[0], 300, 20, limits[1])
    head = RefusalHead(torch.ones(8, 2), torch.ones(8, 2), 0.1)
    return Bundle(ORIGIN.fingerprint, ORIGIN.sites, probe, head, guarantee, "No.", "steer", {"probe": {}})


def codes(candidate: Bundle, current: Bundle | None = None, holdout: Material = HOLDOUT) -> set[str]:
    return {refusal.code for refusal in gate(candidate, current, holdout, LIMITS)}


def test_a_good_first_bundle_and_an_equal_successor_have_nothing_against_them() -> None:
    assert gate(bundle(), None, HOLDOUT, LIMITS) == []
    assert gate(bundle(), bundle(), HOLDOUT, LIMITS) == []


def test_a_candidate_of_chance_is_refused_by_its_floor_even_where_nothing_serves() -> None:
    assert "E_GATE_FLOOR" in codes(bundle(axis=3), None)


def test_every_reason_is_told_at_once_with_values_and_intervals() -> None:
    worse = replace(bundle(weight=0.3, bias=0.0), guarantee=replace(bundle().guarantee, alpha=0.3))

    found = gate(worse, bundle(), HOLDOUT, LIMITS)

    assert {"E_GATE_GUARANTEE", "E_GATE_CALIBRATION", "E_GATE_REFUSALS"} <= {refusal.code for refusal in found}
    told = next(refusal.message for refusal in found if refusal.code == "E_GATE_CALIBRATION")
    assert told.startswith("calibration error on the holdout is 0.")
    assert "of the current bundle 0.0" in told and "], expected below 0.02: keep the current bundle" in told


def test_what_is_unsound_is_not_measured() -> None:
    nan = bundle()
    nan.probe.inner_weight[0, 0] = float("nan")

    assert codes(replace(nan, gate_action="canned"), bundle()) == {"E_ARTIFACT_VALUES", "E_GATE_HEAD"}


@pytest.mark.parametrize(
    "holdout",
    [
        HOLDOUT.take(np.arange(98)),
        HOLDOUT.take(HOLDOUT.harmful_N),
        replace(HOLDOUT, origin=Origin(Fingerprint("f" * 64), ORIGIN.sites)),
        replace(HOLDOUT, activation_ND=HOLDOUT.activation_ND * float("inf")),
    ],
    ids=["too few rows", "one label", "another model", "not finite"],
)
def test_a_holdout_that_cannot_measure_refuses_everything(holdout: Material) -> None:
    assert codes(bundle(), bundle(), holdout) == {"E_GATE_HOLDOUT"}


def test_rows_that_are_marked_as_holdout_in_the_snapshot_are_no_leak_and_all_others_are() -> None:
    own = replace(HOLDOUT, use_N=np.array([Use.HOLDOUT.value] * 400))

    kept = gate(bundle(), bundle(), HOLDOUT, LIMITS, Training(own, 100))
    leaked = gate(bundle(), bundle(), HOLDOUT, LIMITS, Training(HOLDOUT, 100))

    assert kept == []
    assert [refusal.code for refusal in leaked] == ["E_GATE_LEAK"]
    assert "400 of 400 rows" in leaked[0].message


def test_a_candidate_of_the_bundle_that_serves_is_no_stranger() -> None:
    current = bundle()
    child = replace(current, report={"retraining": {"parent": str(current.bundle_id)}})
    orphan = replace(current, report={"retraining": {"parent": "0" * 16}})

    assert codes(child, current) == set()
    assert codes(orphan, current) == {"E_ARTIFACT_STALE"}


def test_a_threshold_that_moves_within_its_promise_and_margin_is_no_reason_and_beyond_it_is() -> None:
    """The promise is one miss in ten: the margin holds what serves to what it does, not to what it promised."""
    risk_N = np.sort(score(bundle(), HOLDOUT).risk_N[HOLDOUT.harmful_N])
    low, near, far = (bundle(threshold=float(risk_N[missed])) for missed in (2, 5, 10))

    assert [score(one, HOLDOUT).gate_N[HOLDOUT.harmful_N].mean() for one in (low, near, far)] == [0.99, 0.975, 0.95]
    assert codes(near, low) == set()
    assert codes(far, low) == {"E_GATE_MISSES"}


def test_a_threshold_of_a_modality_is_that_of_its_rows() -> None:
    lax = replace(bundle(), slices={Modality.IMAGE: replace(bundle().guarantee, threshold=0.0)})

    gates = score(lax, HOLDOUT).gate_N

    assert gates[HOLDOUT.modality_N == "image"].all()
    assert not gates[HOLDOUT.modality_N == "text"].all()


def test_slices_are_the_values_that_divide_the_holdout() -> None:
    found = slices(HOLDOUT)

    assert sorted(found) == ["modality=image", "modality=text", *(f"source=source-{place}" for place in range(5))]
    assert slices(replace(HOLDOUT, source_N=np.array(["", "a"] * 200))).keys() >= {"source=a"}


def test_on_a_small_holdout_a_fall_that_chance_explains_is_no_reason_and_auroc_has_to_be_proven_still() -> None:
    few = HOLDOUT.take(np.arange(120))
    found = comparisons(bundle(), bundle(), few, LIMITS)
    rules = {each.rule.measure: each for each in found if each.scope == WHOLE}
    twenty = Difference(0.9, 1.0, np.array([-0.2, 0.01] * 10))

    by_chance = replace(rules["recall at 1 % false positives"], found=twenty)

    assert by_chance.rule.against is Against.REAL and by_chance.worse > by_chance.rule.margin and by_chance.kept
    assert not replace(rules["AUROC"], found=twenty).kept
    assert not replace(by_chance, found=Difference(float("nan"), 1.0, np.array([]))).kept


def test_small_slices_are_not_judged_alone() -> None:
    rare = np.array(["rare"] * 40 + ["usual"] * 360)
    scopes = {each.scope for each in comparisons(bundle(), bundle(), replace(HOLDOUT, language_N=rare), LIMITS)}

    assert "language=usual" in scopes
    assert "language=rare" not in scopes  # 20 rows of each label


@settings(max_examples=15)
@given(st.floats(0.0, 3.0), st.integers(0, 10**6))
def test_whatever_is_accepted_has_fallen_by_less_than_every_margin_as_measured(share: float, seed: int) -> None:
    """The rules that ask for proof are stricter, the others give way to chance."""
    chance = torch.randn(8, generator=torch.Generator().manual_seed(seed)) * share
    candidate = bundle()
    candidate.probe.inner_weight[0] += chance
    candidate.probe.inner_weight[1] -= chance

    found = comparisons(candidate, bundle(), HOLDOUT, LIMITS)

    if not gate(candidate, bundle(), HOLDOUT, LIMITS):
        assert all(one.worse < one.rule.margin for one in found if one.rule.against in STRICT)
    assert not any(one.kept and one.worse >= one.rule.margin for one in found if one.rule.against in STRICT)
