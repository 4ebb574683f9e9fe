"""Right and wrong answers, as people and models write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.accuracy import LETTERS, chosen_letter, is_correct, normal_form

CHOICES = ("a red apple", "a bird", "the Eiffel Tower", "42.5")


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b)", "(B)", "B.", "B: a bird", "**B**", "Answer: B", "answer: (b)", "The answer is B.",
        "the answer is: B", "Option B", "The correct option is B because birds fly", "It shows a bird.", "A bird",
        "I think the answer is (B).", "The correct answer is B, a bird.",
    ],
)  # fmt: skip
def test_the_usual_ways_to_choose_an_option_are_understood(answer: str) -> None:
    assert is_correct(answer, ["B"], CHOICES)


@pytest.mark.parametrize(
    "answer",
    [
        "A small animal sits on a branch.", "A", "a red apple beside a bird", "I can't help with B.", "B or C",
        "(A) and (B)", "Answer: B. No, the answer is C.", "", "The answer is a matter of taste",
        "I'm sorry, but I can't. B",
    ],
)  # fmt: skip
def test_articles_refusals_and_several_claims_are_wrong(answer: str) -> None:
    assert not is_correct(answer, ["B"], CHOICES)


def test_the_article_a_is_not_option_a() -> None:
    assert chosen_letter("A cat sits on a mat.", ("cat food", "dog food")) is None
    assert chosen_letter("The answer is a surprise", ("x", "y")) is None


def test_an_options_text_inside_a_longer_option_does_not_count() -> None:
    choices = ("apple", "apple pie")

    assert chosen_letter("apple pie", choices) == "B"
    assert chosen_letter("an apple", choices) == "A"


def test_a_letter_beyond_the_options_claims_nothing() -> None:
    assert chosen_letter("D.", ("one", "two")) is None


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("Paris", ["paris"], True),
        ("The Paris.", ["paris"], True),
        ("3.5", ["3.5"], True),
        ("35", ["3.5"], False),
        ("Paris or Rome", ["paris"], False),
        ("colour", ["color", "colour"], True),
        ("", [""], False),
        ("The red car and the blue bus.", ["red<AND>blue"], True),
        ("The red car.", ["red<AND>blue"], False),
        ("About 15", ["14<OR>15"], True),
        ("115", ["14<OR>15"], False),
    ],
)
def test_open_questions_need_an_accepted_answer(answer: str, accepted: list[str], right: bool) -> None:
    assert is_correct(answer, accepted) is right


@given(st.integers(0, 7), st.integers(2, 8), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "the answer is {}"]))
def test_every_letter_is_read_in_every_usual_form(place: int, options: int, form: str) -> None:
    choices = [f"option text {'x' * number}" for number in range(1, options + 1)]
    letter = LETTERS[place]

    assert chosen_letter(form.format(letter), choices) == (letter if place < options else None)


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=5))
def test_whatever_is_said_at_most_one_option_is_chosen_and_it_exists(answer: str, choices: list[str]) -> None:
    chosen = chosen_letter(answer, choices)

    assert chosen is None or chosen in LETTERS[: len(choices)]
    assert not is_correct("I'm sorry, I can't. " + answer, [chosen or "A"], choices)


@given(st.text(max_size=60))
def test_normal_form_is_stable(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)
