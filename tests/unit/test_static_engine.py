"""The reference engine on a random model: gate per row, exact no-op, broken rows."""

import math
from dataclasses import replace

import pytest
import torch

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BundleRefused
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Action, Annotation, Fingerprint, Flaw, GateAction, Item, Verdict
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision

ITEMS = mixed_items(16)
OPTIONS = EngineOptions(batch_rows=16, max_new_tokens=6)


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


@pytest.fixture(scope="module")
def threshold(backbone: LlavaOnevision) -> float:
    """Half of the items lie above it."""
    risks = sorted(row.risk for row in StaticEngine(backbone, tiny_bundle(backbone), OPTIONS).audit(ITEMS))
    return (risks[7] + risks[8]) / 2


def run(
    backbone: LlavaOnevision, threshold: float, options: EngineOptions = OPTIONS, items: list[Item] = ITEMS
) -> list[Verdict]:
    return StaticEngine(backbone, tiny_bundle(backbone, threshold), options).generate(items)


def test_only_risky_rows_are_steered(backbone: LlavaOnevision, threshold: float) -> None:
    rows = run(backbone, threshold)

    assert [row.action is Action.REFUSE for row in rows] == [row.risk >= threshold for row in rows]
    assert [row.steered_tokens > 0 for row in rows] == [bool(row.gate_open) for row in rows]
    assert sum(bool(row.gate_open) for row in rows) == 8


def test_a_mixed_batch_answers_every_row_as_it_would_alone(backbone: LlavaOnevision, threshold: float) -> None:
    together = run(backbone, threshold)

    alone = [run(backbone, threshold, items=[item])[0] for item in ITEMS]
    assert [row.answer for row in together] == [row.answer for row in alone]


def test_rows_with_a_closed_gate_equal_the_unsteered_model(backbone: LlavaOnevision, threshold: float) -> None:
    rows = run(backbone, threshold)

    prompts = [backbone.encode(item) for item in ITEMS]
    unsteered = decode(backbone, prompts, OPTIONS.max_new_tokens)
    closed = [place for place, row in enumerate(rows) if not row.gate_open]
    assert closed
    assert [rows[place].answer for place in closed] == [unsteered[place].text for place in closed]


def test_closed_rows_have_bit_equal_logits_beside_steered_neighbours(backbone: LlavaOnevision) -> None:
    from autosteer_core.steering import steered

    inputs = backbone.collate([backbone.encode(item) for item in ITEMS[:4]])
    gate = torch.tensor([True, False, True, False])
    plain = backbone.model(**inputs).logits

    with steered(backbone.head, tiny_bundle(backbone).head, gate) as record:
        edited = backbone.model(**inputs).logits

    assert torch.equal(edited[~gate], plain[~gate])
    assert not torch.equal(edited[gate], plain[gate])
    assert record.steered_passes.tolist() == [1, 0, 1, 0]


def test_an_error_inside_steering_leaves_no_hook_behind(backbone: LlavaOnevision) -> None:
    from autosteer_core.steering import steered

    with pytest.raises(RuntimeError), steered(backbone.head, tiny_bundle(backbone).head, torch.tensor([True])):
        raise RuntimeError

    assert not backbone.head._forward_pre_hooks


def test_a_broken_item_becomes_an_error_row_and_the_others_are_answered(backbone: LlavaOnevision) -> None:
    items = [
        ITEMS[0],
        Item("bad", "hm", (b"no picture",), 1),
        Item("flawed", "", row=2, flaw=Flaw("E_ROW_EMPTY", "empty")),
        ITEMS[1],
    ]

    rows = run(backbone, 0.5, items=items)

    assert [row.flaw.code if row.flaw else None for row in rows] == [None, "E_IMAGE_FORMAT", "E_ROW_EMPTY", None]
    assert [row.action for row in rows[1:3]] == [Action.ERROR, Action.ERROR]
    assert rows[1].answer is None
    assert rows[0].answer == run(backbone, 0.5, items=ITEMS[:1])[0].answer


def test_a_batch_of_broken_items_only_needs_no_model(backbone: LlavaOnevision) -> None:
    assert [row.action for row in run(backbone, 0.5, items=[Item("bad", "", (b"",))])] == [Action.ERROR]


def test_a_probe_that_gives_nan_never_answers(backbone: LlavaOnevision) -> None:
    bundle = tiny_bundle(backbone)
    broken = replace(bundle, probe=replace(bundle.probe, outer_bias=torch.tensor(math.nan)))

    rows = StaticEngine(backbone, broken, OPTIONS).generate(ITEMS[:3])

    assert {row.action for row in rows} == {Action.REVIEW}
    assert {row.answer for row in rows} == {None}
    assert {row.flaw.code for row in rows if row.flaw} == {"E_RISK"}


def test_audit_gives_the_same_risk_as_generate_and_no_answer(backbone: LlavaOnevision, threshold: float) -> None:
    audited = StaticEngine(backbone, tiny_bundle(backbone, threshold), OPTIONS).audit(ITEMS)

    generated = run(backbone, threshold)
    assert [row.risk for row in audited] == [row.risk for row in generated]
    assert {row.action for row in audited} == {Action.ALLOW, Action.FLAG}
    assert all(row.answer is None for row in audited)


def test_rows_at_the_threshold_are_read_again_alone_and_marked(backbone: LlavaOnevision, threshold: float) -> None:
    nearest = min(ITEMS, key=lambda item: abs(run(backbone, threshold, items=[item])[0].risk - threshold))
    exact = run(backbone, threshold, items=[nearest])[0].risk

    row = next(row for row in run(backbone, exact) if row.item_id == nearest.item_id)

    assert row.borderline
    assert row.gate_evaluations == 2
    assert row.action is Action.REFUSE


def test_compare_adds_both_controls(backbone: LlavaOnevision, threshold: float) -> None:
    rows = run(backbone, threshold, replace(OPTIONS, compare=True))

    never = run(backbone, 1.0)
    always = run(backbone, 0.0)
    assert [row.compared["unsteered"] for row in rows] == [row.answer for row in never]
    assert [row.compared["always"] for row in rows] == [row.answer for row in always]


@pytest.mark.parametrize("action", [GateAction.CANNED, GateAction.PREFIX])
def test_other_gate_actions_open_with_the_bundles_refusal(
    backbone: LlavaOnevision, threshold: float, action: GateAction
) -> None:
    rows = run(backbone, threshold, replace(OPTIONS, gate_action=action))

    steered = run(backbone, threshold)
    for row, other in zip(rows, steered, strict=True):
        assert (row.answer or "").startswith("Sorry, I can't.") if row.gate_open else row.answer == other.answer


def test_a_fixed_text_is_the_one_of_the_items_group(backbone: LlavaOnevision) -> None:
    bundle = replace(tiny_bundle(backbone, 0.0, gate_action="canned"), refusals={"self-harm": "Please call someone."})
    items = [
        replace(item, annotation=Annotation(group=group))
        for item, group in zip(ITEMS[:3], ["self-harm", None, "x"], strict=True)
    ]

    rows = StaticEngine(backbone, bundle, OPTIONS).generate(items)

    assert [row.answer for row in rows] == ["Please call someone.", "Sorry, I can't.", "Sorry, I can't."]


def test_a_bundle_of_another_model_is_refused(backbone: LlavaOnevision) -> None:
    stranger = replace(tiny_bundle(backbone), fingerprint=Fingerprint("0" * 64))

    with pytest.raises(BundleRefused):
        StaticEngine(backbone, stranger, OPTIONS)
