"""What every engine owes its callers, run against each of them on a random model."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from autosteer_core.activations import read_sites
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.budget import Budget
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BundleRefused
from autosteer_core.kept_activations import content_hash
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Action, Annotation, Fingerprint, Flaw, GateAction, Item, Verdict
from infra.activation_files import as_array
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items

Build = Any  # an engine's class

ITEMS = mixed_items(16)
OPTIONS = EngineOptions(batch_rows=16, max_new_tokens=6, slots=3)


@pytest.fixture(scope="module")
def threshold(backbone: LlavaOnevision) -> float:
    """Half of the items lie above it."""
    risks = sorted(row.risk for row in StaticEngine(backbone, tiny_bundle(backbone), OPTIONS).audit(ITEMS))
    return (risks[7] + risks[8]) / 2


def run(
    build: Build,
    backbone: LlavaOnevision,
    threshold: float,
    options: EngineOptions = OPTIONS,
    items: list[Item] = ITEMS,
) -> list[Verdict]:
    return build(backbone, tiny_bundle(backbone, threshold), options).generate(items)


def test_only_risky_rows_are_steered(build: Build, backbone: LlavaOnevision, threshold: float) -> None:
    rows = run(build, backbone, threshold)

    assert [row.action is Action.REFUSE for row in rows] == [row.risk >= threshold for row in rows]
    assert [row.steered_tokens > 0 for row in rows] == [bool(row.gate_open) for row in rows]
    assert sum(bool(row.gate_open) for row in rows) == 8


def test_a_mixed_batch_answers_every_row_as_it_would_alone(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    together = run(build, backbone, threshold)

    alone = [run(build, backbone, threshold, items=[item])[0] for item in ITEMS]
    assert [row.answer for row in together] == [row.answer for row in alone]


def test_rows_with_a_closed_gate_equal_the_unsteered_model(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    rows = run(build, backbone, threshold)

    prompts = [backbone.encode(item) for item in ITEMS]
    unsteered = decode(backbone, prompts, OPTIONS.max_new_tokens)
    closed = [place for place, row in enumerate(rows) if not row.gate_open]
    assert closed
    assert [rows[place].answer for place in closed] == [unsteered[place].text for place in closed]


def test_a_broken_item_becomes_an_error_row_and_the_others_are_answered(
    build: Build, backbone: LlavaOnevision
) -> None:
    items = [
        ITEMS[0],
        Item("bad", "hm", (b"no picture",), 1),
        Item("flawed", "", row=2, flaw=Flaw("E_ROW_EMPTY", "empty")),
        ITEMS[1],
    ]

    rows = run(build, backbone, 0.5, items=items)

    assert [row.flaw.code if row.flaw else None for row in rows] == [None, "E_IMAGE_FORMAT", "E_ROW_EMPTY", None]
    assert [row.action for row in rows[1:3]] == [Action.ERROR, Action.ERROR]
    assert rows[1].answer is None
    assert rows[0].answer == run(build, backbone, 0.5, items=ITEMS[:1])[0].answer


def test_a_batch_of_broken_items_only_needs_no_model(build: Build, backbone: LlavaOnevision) -> None:
    assert [row.action for row in run(build, backbone, 0.5, items=[Item("bad", "", (b"",))])] == [Action.ERROR]


def test_a_probe_that_gives_nan_never_answers(build: Build, backbone: LlavaOnevision) -> None:
    bundle = tiny_bundle(backbone)
    broken = replace(bundle, probe=replace(bundle.probe, outer_bias=torch.tensor(math.nan)))

    rows = build(backbone, broken, OPTIONS).generate(ITEMS[:3])

    assert {row.action for row in rows} == {Action.REVIEW}
    assert {row.answer for row in rows} == {None}
    assert {row.flaw.code for row in rows if row.flaw} == {"E_RISK"}


@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_a_model_whose_logits_are_no_numbers_never_answers(
    build: Build, backbone: LlavaOnevision, threshold: float, damage: float
) -> None:
    def spoil(module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, damage)

    handle = backbone.head.register_forward_hook(spoil)
    try:
        rows = run(build, backbone, threshold)
    finally:
        handle.remove()

    assert {(row.action, row.answer, row.flaw and row.flaw.code) for row in rows} == {
        (Action.REVIEW, None, "E_LOGITS")
    }
    assert all(0 <= row.risk <= 1 for row in rows)


def test_a_row_that_turns_nan_within_its_answer_is_for_a_person_and_its_neighbours_are_as_before(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    sound = run(build, backbone, threshold)
    prompts = [backbone.encode(item) for item in ITEMS]
    fed = [set(answer.ids[:-1]) for answer in decode(backbone, prompts, OPTIONS.max_new_tokens)]
    closed = next(place for place, row in enumerate(sound) if not row.gate_open)
    poison = min(fed[closed] - {token for prompt in prompts for token in prompt.ids})

    def spoil(module: Any, args: Any, states: torch.Tensor) -> torch.Tensor:
        return states.masked_fill((args[0] == poison)[..., None], math.nan)

    handle = backbone.model.get_input_embeddings().register_forward_hook(spoil)
    try:
        rows = run(build, backbone, threshold)
    finally:
        handle.remove()

    assert rows[closed].action is Action.REVIEW and rows[closed].answer is None
    untouched = [place for place, row in enumerate(sound) if not row.gate_open and poison not in fed[place]]
    assert untouched
    assert [rows[place].answer for place in untouched] == [sound[place].answer for place in untouched]


def test_audit_gives_the_same_risk_as_generate_and_no_answer(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    audited = build(backbone, tiny_bundle(backbone, threshold), OPTIONS).audit(ITEMS)

    generated = run(build, backbone, threshold)
    assert [row.risk for row in audited] == pytest.approx([row.risk for row in generated], abs=1e-5)
    assert {row.action for row in audited} == {Action.ALLOW, Action.FLAG}
    assert all(row.answer is None for row in audited)


@pytest.mark.parametrize("kind", ["audit", "generate"])
def test_what_the_probe_read_is_kept_where_that_is_asked_for(
    build: Build, backbone: LlavaOnevision, threshold: float, kind: str
) -> None:
    bundle = tiny_bundle(backbone, threshold)
    items = [*ITEMS, Item("broken", "x", (b"no picture",))]

    rows = getattr(build(backbone, bundle, replace(OPTIONS, activations=True)), kind)(items)

    assert rows[-1].activation is None
    kept = [row.activation for row in rows[:-1]]
    read = read_sites(backbone, [backbone.encode(item) for item in ITEMS], bundle.sites)
    np.testing.assert_allclose(as_array(kept), read.numpy(), rtol=2e-3, atol=1e-3)
    assert [each.content for each in kept] == [content_hash(item) for item in ITEMS]
    assert all(row.activation is None for row in getattr(build(backbone, bundle, OPTIONS), kind)(ITEMS))


def test_rows_at_the_threshold_are_read_again_alone_and_marked(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    nearest = min(ITEMS, key=lambda item: abs(run(build, backbone, threshold, items=[item])[0].risk - threshold))
    exact = run(build, backbone, threshold, items=[nearest])[0].risk

    row = next(row for row in run(build, backbone, exact) if row.item_id == nearest.item_id)

    assert row.borderline
    assert row.gate_evaluations == 2
    assert row.action is Action.REFUSE


def test_compare_adds_both_controls(build: Build, backbone: LlavaOnevision, threshold: float) -> None:
    rows = run(build, backbone, threshold, replace(OPTIONS, compare=True))

    never = run(build, backbone, 1.0)
    always = run(build, backbone, 0.0)
    assert [row.compared["unsteered"] for row in rows] == [row.answer for row in never]
    assert [row.compared["always"] for row in rows] == [row.answer for row in always]


@pytest.mark.parametrize("action", [GateAction.CANNED, GateAction.PREFIX])
def test_other_gate_actions_open_with_the_bundles_refusal(
    build: Build, backbone: LlavaOnevision, threshold: float, action: GateAction
) -> None:
    rows = run(build, backbone, threshold, replace(OPTIONS, gate_action=action))

    steered = run(build, backbone, threshold)
    for row, other in zip(rows, steered, strict=True):
        assert (row.answer or "").startswith("Sorry, I can't.") if row.gate_open else row.answer == other.answer


def test_a_fixed_text_is_the_one_of_the_items_group(build: Build, backbone: LlavaOnevision) -> None:
    bundle = replace(tiny_bundle(backbone, 0.0, gate_action="canned"), refusals={"self-harm": "Please call someone."})
    items = [
        replace(item, annotation=Annotation(group=group))
        for item, group in zip(ITEMS[:3], ["self-harm", None, "x"], strict=True)
    ]

    rows = build(backbone, bundle, OPTIONS).generate(items)

    assert [row.answer for row in rows] == ["Please call someone.", "Sorry, I can't.", "Sorry, I can't."]


def test_a_bundle_of_another_model_is_refused(build: Build, backbone: LlavaOnevision) -> None:
    stranger = replace(tiny_bundle(backbone), fingerprint=Fingerprint("0" * 64))

    with pytest.raises(BundleRefused, match="name the right model, or run `autosteer calibrate`"):
        build(backbone, stranger, OPTIONS)


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_the_pulse_is_sent_between_steps_and_what_it_raises_ends_the_work(
    build: Build, kind: str, backbone: LlavaOnevision, threshold: float
) -> None:
    left = [True, True]  # a third pulse finds nothing

    def pulse() -> None:
        left.pop()

    engine = build(
        backbone,
        tiny_bundle(backbone, threshold),
        replace(OPTIONS, batch_rows=1, budget=Budget(tokens=1), pulse=pulse),
    )
    with pytest.raises(IndexError):
        getattr(engine, kind)(ITEMS)

    left += [True] * 1000
    undisturbed = build(backbone, tiny_bundle(backbone, threshold), OPTIONS)
    assert [row.action for row in getattr(engine, kind)(ITEMS)] == [
        row.action for row in getattr(undisturbed, kind)(ITEMS)
    ]


def test_a_stream_gives_the_verdicts_of_generate_each_with_its_place(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    rows = dict(build(backbone, tiny_bundle(backbone, threshold), OPTIONS).stream(iter(ITEMS)))

    assert sorted(rows) == list(range(len(ITEMS)))
    assert [rows[place].answer for place in range(len(ITEMS))] == [
        row.answer for row in run(build, backbone, threshold)
    ]


@pytest.mark.parametrize("flaw", [None, Flaw("E_ROW_EMPTY", "empty")])
def test_an_endless_stream_is_read_a_bounded_number_of_items_ahead(
    build: Build, backbone: LlavaOnevision, flaw: Flaw | None
) -> None:
    drawn = 0

    def endless() -> Iterator[Item]:
        nonlocal drawn
        while True:
            drawn += 1
            yield replace(ITEMS[drawn % 16], flaw=flaw)

    engine = build(backbone, tiny_bundle(backbone), replace(OPTIONS, batch_rows=2, slots=8, max_new_tokens=2))

    places = [place for place, _ in islice(engine.stream(endless()), 50)]

    assert len(set(places)) == 50
    assert drawn <= 50 + 5 * 8
