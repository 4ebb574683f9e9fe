"""Sampling: one number decides one token, as often as the softmax says, and only among the kept ones."""

import pytest
import torch

from autosteer_core.engine import EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.sampling import Sampling
from autosteer_core.static_engine import StaticEngine
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

SHARES = torch.tensor([0.1, 0.4, 0.2, 0.3])
UNIFORM = (torch.arange(1000) + 0.5) / 1000


def drawn(sampling: Sampling) -> list[int]:
    """How often each of the four tokens is drawn, of a thousand."""
    tokens = sampling.draw(SHARES.log().expand(1000, -1), UNIFORM)
    return torch.bincount(tokens, minlength=4).tolist()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [100, 400, 200, 300]),
        (Sampling(temperature=0.5), [33, 533, 133, 300]),
        (Sampling(top_k=2), [0, 571, 0, 429]),
        (Sampling(top_k=99), [100, 400, 200, 300]),
        (Sampling(top_p=0.6), [0, 571, 0, 429]),
        (Sampling(top_p=0.01), [0, 1000, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_the_kept_softmax_says(sampling: Sampling, expected: list[int]) -> None:
    assert drawn(sampling) == pytest.approx(expected, abs=1)


def test_the_largest_number_below_one_still_draws_a_kept_token() -> None:
    nearly_one = torch.nextafter(torch.ones(1), torch.zeros(1))

    assert Sampling(top_k=3).draw(SHARES.log()[None], nearly_one).tolist() == [3]


def test_tokens_that_rounding_puts_in_another_order_are_drawn_as_before() -> None:
    one, other = torch.tensor([1.0, 2.0, 2.000001, 0.5]), torch.tensor([1.0, 2.000001, 2.0, 0.5])

    for sampling in (Sampling(), Sampling(top_k=3), Sampling(top_p=0.9)):
        first, second = (sampling.draw(each.expand(1000, -1), UNIFORM) for each in (one, other))
        assert (first != second).sum() <= 1


def test_seeds_differ_between_items_and_runs_and_are_the_same_tomorrow() -> None:
    seeds = {Sampling(run_seed=run).seed(item) for run in range(3) for item in ("a", "b", "1 a")}

    assert len(seeds) == 9
    assert Sampling(run_seed=1).seed("a") == 0x2735D0823BE7ADB4


@pytest.mark.parametrize(
    "values",
    [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 0}],
)
def test_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UserMistake, match="sampling has temperature"):
        Sampling(**values)


def test_the_static_engine_refuses_to_sample() -> None:
    backbone = tiny_llava_onevision()

    with pytest.raises(UserMistake, match="greedily only"):
        StaticEngine(backbone, tiny_bundle(backbone), EngineOptions(sampling=Sampling()))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=2), Sampling(top_p=0.5)])
def test_a_row_of_nan_draws_some_token_and_leaves_the_other_rows_as_they_are(sampling: Sampling) -> None:
    poisoned = torch.stack([torch.full((4,), torch.nan), SHARES.log()])

    nonsense, token = sampling.draw(poisoned, torch.tensor([0.5, 0.5])).tolist()

    assert 0 <= nonsense < 4
    assert token == sampling.draw(SHARES.log()[None], torch.tensor([0.5])).item()
