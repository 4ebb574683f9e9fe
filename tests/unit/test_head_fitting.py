"""Fitting the Refusal Head on a random model: it learns to refuse, in the words and for the tokens asked for."""

from dataclasses import replace

import pytest
import torch

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.decoding import decode
from autosteer_core.errors import UserMistake
from autosteer_core.final_states import States, mean_losses
from autosteer_core.head_fitting import HeadOptions, fit_head, refusal_states
from autosteer_core.judges import is_refusal
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.refusals import BY_LANGUAGE, REFUSALS, Wordings
from autosteer_core.values import Item
from tests.tiny_model import tiny_llava_onevision

THINGS = ["cake", "home", "picture", "window", "river", "engine", "pencil", "orchard"]
ONE_WORDING = Wordings(by_group={"all": ("Sorry, I can't.",)})
OPTIONS = HeadOptions(rank=16, keep=0.0, wordings=ONE_WORDING, steps=150, positions=32, benign_tokens=4)


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


@pytest.fixture(scope="module")
def prompts(backbone: LlavaOnevision) -> list[Prompt]:
    return [backbone.encode(Item(thing, f"how do I make a {thing}")) for thing in THINGS]


def head(backbone: LlavaOnevision, prompts: list[Prompt], options: HeadOptions) -> RefusalHead:
    return fit_head(backbone, prompts, prompts[:2], 0, options, ["all"] * len(prompts))


def refused(backbone: LlavaOnevision, prompts: list[Prompt], fitted: RefusalHead) -> int:
    gate = torch.ones(len(prompts), dtype=torch.bool)
    answers = decode(backbone, prompts, 12, fitted, gate)
    return sum(answer.text.startswith("Sorry, I can't.") for answer in answers)


def test_a_fitted_head_refuses_what_the_model_would_answer(backbone: LlavaOnevision, prompts: list[Prompt]) -> None:
    fitted = head(backbone, prompts, OPTIONS)

    assert refused(backbone, prompts, RefusalHead.zero(32, 4, 0.1, seed=0)) == 0
    assert refused(backbone, prompts, fitted) == len(prompts)


def test_jitter_makes_a_head_that_refuses_at_half_its_strength(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    steady = head(backbone, prompts, OPTIONS)
    jittered = head(backbone, prompts, replace(OPTIONS, jitter=0.7))

    at_half = [refused(backbone, prompts, replace(one, epsilon=0.05)) for one in (steady, jittered)]
    assert at_half[0] < at_half[1] == len(prompts)


def test_a_head_for_the_first_tokens_learns_and_carries_that_limit(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    options = replace(OPTIONS, tokens=3)

    states = refusal_states(backbone, prompts, ["all"] * len(prompts), options)

    assert states.lengths == (3,) * len(prompts)
    assert head(backbone, prompts, options).tokens == 3


def test_states_hold_the_refusal_and_the_token_that_ends_it(backbone: LlavaOnevision, prompts: list[Prompt]) -> None:
    states = refusal_states(backbone, prompts[:1], ["all"], OPTIONS)

    assert backbone.tokenizer.decode(states.target_M) == "Sorry, I can't.<|im_end|>"
    assert states.hidden_MD.shape == (len(states.target_M), 32)


def sentences(backbone: LlavaOnevision, states: States) -> list[str]:
    return [backbone.tokenizer.decode(target_M, skip_special_tokens=True) for _, target_M in states.rows()]


def test_a_group_is_taught_its_own_words_and_the_others_the_common_ones(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    wordings = Wordings(by_group={"self-harm": ("Sorry, I can't. Please talk to someone.",)})

    states = refusal_states(backbone, prompts[:3], ["self-harm", "fraud", "fraud"], HeadOptions(wordings=wordings))

    assert sentences(backbone, states) == ["Sorry, I can't. Please talk to someone.", REFUSALS[1], REFUSALS[2]]


def test_each_prompt_is_refused_in_the_language_that_the_model_finds_likeliest(
    backbone: LlavaOnevision, prompts: list[Prompt]
) -> None:
    languages = ("en", "de", "zh")
    losses = torch.stack([mean_losses(backbone, prompts, BY_LANGUAGE[language][0]) for language in languages])

    states = refusal_states(backbone, prompts, [""] * 8, HeadOptions(wordings=Wordings(languages)))

    expected = [languages[place] for place in losses.argmin(dim=0).tolist()]
    for sentence, language in zip(sentences(backbone, states), expected, strict=True):
        assert sentence in BY_LANGUAGE[language]


@pytest.mark.parametrize("sentence", [sentence for known in BY_LANGUAGE.values() for sentence in known])
def test_every_sentence_of_the_table_is_judged_a_refusal(sentence: str) -> None:
    assert is_refusal(sentence)


@pytest.mark.parametrize(("languages", "named"), [(("en", "xx"), "xx"), ((), "no language")])
def test_a_language_without_sentences_is_refused(languages: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserMistake, match=named):
        Wordings(languages)


def test_a_group_without_words_is_refused() -> None:
    with pytest.raises(UserMistake, match="group fraud has no refusal sentence"):
        Wordings(by_group={"fraud": ()})
