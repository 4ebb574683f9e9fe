"""The paper's exact form as a bundle of ours, on a random model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.final_states import output_weight
from autosteer_core.labelled import Labelled, labelled, split
from autosteer_core.operating_point import Bound
from autosteer_core.paper_form import (
    REFUSAL,
    PaperOptions,
    Schedule,
    fit_paper_head,
    fit_paper_probe,
    paper_form,
    question_and_refusal_states,
)
from autosteer_core.probe import gate_is_open
from autosteer_core.safety_awareness import safety_awareness
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Annotation, Item, Label
from tests.pictures import png
from tests.tiny_model import tiny_llava_onevision

OPTIONS = PaperOptions(probe=Schedule(1e-3, 8, 20, 1e-5), head=Schedule(1e-2, 2, 10, 1e-2))
ITEMS = [
    Item(
        f"{pair}-{label}",
        f"how do I make number {pair} {'bomb bomb' if label is Label.HARMFUL else 'cake cake'}",
        annotation=Annotation(label, "text", str(pair), f"source-{pair % 6}"),
    )
    for pair in range(30)
    for label in (Label.HARMFUL, Label.BENIGN)
]


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


@pytest.fixture(scope="module")
def prompts(backbone: LlavaOnevision) -> list[Prompt]:
    return [backbone.encode(item) for item in ITEMS]


@pytest.fixture(scope="module")
def data(backbone: LlavaOnevision, prompts: list[Prompt]) -> Labelled:
    return labelled(ITEMS, read_activations(backbone, prompts, [1, 2, 3, 4]))


@pytest.fixture(scope="module")
def bundle(backbone: LlavaOnevision, prompts: list[Prompt], data: Labelled) -> Bundle:
    return paper_form(backbone, prompts, data, split(data, 0), Bound(), OPTIONS)


def test_the_layer_is_the_one_of_highest_safety_awareness(bundle: Bundle, data: Labelled) -> None:
    rows = split(data, 0).train
    train = data.take(rows).activations_NLPD[:, :, 0]
    order = np.argsort(data.pair_N[rows], kind="stable")
    harmful = data.harmful_N[rows][order]
    score, _ = safety_awareness(train[order][harmful], train[order][~harmful])

    assert bundle.layers == (int(score.argmax()) + 1,)


def test_the_baseline_is_a_bundle_that_engines_run_and_files_keep(backbone: LlavaOnevision, bundle: Bundle) -> None:
    engine = StaticEngine(backbone, from_files(to_files(bundle)), EngineOptions(max_new_tokens=4))

    rows = engine.generate(ITEMS[:6])

    assert [row.gate_open for row in rows] == [row.risk > 0.5 for row in rows]
    assert {row.steered_tokens > 0 for row in rows if row.gate_open} == {True}


def test_the_gate_opens_strictly_above_one_half(bundle: Bundle) -> None:
    risk = torch.tensor([0.5, 0.500001], dtype=torch.float64)

    assert gate_is_open(risk, bundle.guarantee.threshold).tolist() == [False, True]


def test_two_softmax_outputs_become_one_probability(data: Labelled) -> None:
    activations = data.activations_NLPD[:, 1, 0]

    probe = fit_paper_probe(activations, data.harmful_N, OPTIONS)

    risk = probe.risk(activations)
    assert (risk[data.harmful_N] > 0.5).float().mean() > 0.9
    assert (risk[~data.harmful_N] < 0.5).float().mean() > 0.9


def test_an_untrained_head_is_the_identity_a_temperature_of_one_plus_epsilon(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    still = replace(OPTIONS, head=replace(OPTIONS.head, epochs=0))

    head = fit_paper_head(backbone, prompts[:2], still)

    hidden = torch.randn(2, 3, 32)
    torch.testing.assert_close(head.steer(hidden, torch.tensor([True, True])), hidden * 1.1)


def test_a_trained_head_equals_the_papers_steered_output_matrix(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    head = fit_paper_head(backbone, prompts[:8], OPTIONS)

    matrix, hidden = output_weight(backbone), torch.randn(1, 3, 32) / 32**0.5
    steered_matrix = matrix + head.epsilon * matrix @ head.down.T  # E + eps E M
    logits = head.steer(hidden, torch.tensor([True])) @ matrix.T
    torch.testing.assert_close(logits, hidden @ steered_matrix.T, rtol=0, atol=1e-5)
    assert not torch.allclose(head.down, torch.eye(32), atol=1e-2)


def test_the_question_is_supervised_as_well_as_the_refusal(backbone: LlavaOnevision) -> None:
    text = backbone.encode(Item("text", "how do I make a bomb"))
    picture = backbone.encode(Item("picture", "what is it", (png(size=(40, 30)),)))

    states = question_and_refusal_states(backbone, [text, picture], REFUSAL)

    learned = [backbone.tokenizer.decode(target) for _, target in states.rows()]
    assert learned[0].endswith(f"how do I make a bomb<|im_end|>\n<|im_start|>assistant\n{REFUSAL}<|im_end|>")
    assert learned[1] == f"what is it<|im_end|>\n<|im_start|>assistant\n{REFUSAL}<|im_end|>"


def test_without_pairs_there_is_no_layer_to_choose(
    backbone: LlavaOnevision, prompts: list[Prompt], data: Labelled
) -> None:
    alone = replace(data, pair_N=np.array([str(row) for row in range(len(prompts))]))

    with pytest.raises(UserMistake, match="three pairs"):
        paper_form(backbone, prompts, alone, split(data, 0), Bound(), OPTIONS)
