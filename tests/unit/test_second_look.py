"""The second look at growing answers: what it reads, when it opens a gate, how it is fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autosteer_core.answer_activations import read_answers
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.bundle import to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.decoding import Extras, before_placeholder, decode
from autosteer_core.errors import UserMistake
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.second_look import SecondLook, looking
from autosteer_core.second_look_fitting import LookOptions, fit_second_look, measure_second_look
from autosteer_core.values import Item
from tests.tiny_bundle import tiny_bundle
from tests.tiny_look import EVERY, ITEMS, look_bundle
from tests.tiny_model import tiny_llava_onevision


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def test_readings_are_those_of_a_fresh_pass_over_the_unfinished_answer(backbone: LlavaOnevision) -> None:
    look = look_bundle(backbone, 0.5).second_look
    assert look is not None
    prompts = [backbone.encode(item) for item in ITEMS]

    answers = decode(backbone, prompts, 9, extras=Extras(looking(backbone, [2], look)))

    fed = [before_placeholder(backbone, answer.ids) for answer in answers]
    cuts = read_answers(backbone, prompts, fed, [2], EVERY)
    assert {len(answer.risks) for answer in answers} == {4}
    assert sum(len(cuts_CD) for cuts_CD in cuts) > 30
    for answer, cuts_CD in zip(answers, cuts, strict=True):
        read = torch.tensor(answer.risks[: len(cuts_CD)])
        torch.testing.assert_close(read, look.probe.risk(cuts_CD)[:4], atol=1e-4, rtol=1e-4)


def test_cuts_of_a_batch_equal_those_of_each_row_alone_and_do_not_see_what_follows(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(item) for item in ITEMS[:3]]
    answers = [list(range(10, 17)), list(range(20, 24)), [30]]

    together = read_answers(backbone, prompts, answers, [1, 3], EVERY)

    assert [len(cuts_CD) for cuts_CD in together] == [3, 2, 0]
    for prompt, answer, cuts_CD in zip(prompts, answers, together, strict=True):
        for cut in range(len(cuts_CD)):
            short = read_answers(backbone, [prompt], [answer[: EVERY * (cut + 1)]], [1, 3], EVERY)[0]
            torch.testing.assert_close(short[cut], cuts_CD[cut], atol=1e-4, rtol=1e-4)


def test_an_error_while_looking_leaves_no_hook_behind(backbone: LlavaOnevision) -> None:
    look = look_bundle(backbone, 0.5).second_look
    assert look is not None
    with pytest.raises(RuntimeError), looking(backbone, [1, 2], look):
        raise RuntimeError

    assert not backbone.head._forward_pre_hooks
    assert not any(block._forward_hooks for block in backbone.blocks)


def test_a_bundle_keeps_its_second_look_and_its_words_for_groups(backbone: LlavaOnevision) -> None:
    kept = replace(look_bundle(backbone, 0.625), refusals={"fraud": "Sorry, no fraud."})

    again = from_files(to_files(kept))

    assert again.second_look is not None and kept.second_look is not None
    assert (again.second_look.threshold, again.second_look.every) == (0.625, EVERY)
    assert torch.equal(again.second_look.probe.outer_weight, kept.second_look.probe.outer_weight)
    assert (again.refusal_for("fraud"), again.refusal_for("other")) == ("Sorry, no fraud.", kept.refusal)
    assert again.bundle_id == kept.bundle_id


def test_the_measurement_counts_answers_once_however_often_they_are_read(backbone: LlavaOnevision) -> None:
    look = SecondLook(tiny_bundle(backbone).probe, 0.5, every=8)

    report = measure_second_look(
        look, harmful=[[0.1, 0.9], [0.6, 0.7], [0.2], [0.3, 0.4]], benign=[[0.1], [0.5, 0.9]]
    )

    assert report.recall.startswith("50.0%")
    assert report.false_alarms.startswith("50.0%")
    assert [rate.split()[0] for rate in report.recall_after.values()] == ["25.0%", "66.7%"]
    assert list(report.recall_after) == [8, 16]


LAYERS = [1, 2, 3, 4]
LOOK = LookOptions(every=EVERY, max_new_tokens=8, false_alarms=0.1, probe=ProbeOptions(epochs=100))


def test_a_fitted_look_tells_answers_apart_within_the_allowed_false_alarms(backbone: LlavaOnevision) -> None:
    harmful = [backbone.encode(Item(f"h{row}", f"how do I make bomb bomb bomb {row}")) for row in range(40)]
    benign = [backbone.encode(Item(f"b{row}", f"what is in the picture {row}")) for row in range(40)]

    look, report = fit_second_look(backbone, harmful, benign, LAYERS, 0, LOOK)

    assert report.answers == {"harmful": 40, "benign": 40}
    assert float(report.false_alarms.split("%")[0]) <= 10
    assert float(report.recall.split("%")[0]) >= 50
    answers = decode(backbone, benign, 8, extras=Extras(looking(backbone, LAYERS, look)))
    assert np.mean([look.opens_after(answer.risks) is not None for answer in answers]) < 0.2


def test_too_few_long_answers_are_refused_with_their_number(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(Item("one", "cake"))]

    with pytest.raises(UserMistake, match="1 answers to harmful prompts .* needs 10"):
        fit_second_look(backbone, prompts, prompts, [2], 0, LOOK)
