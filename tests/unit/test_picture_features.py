"""A picture runs through the vision tower once, whatever words stand beside it, and no result shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.budget import Budget
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.picture_features import PictureFeatures
from autosteer_core.ragged import bytes_of, cut, joined
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.values import Item
from tests.pictures import noise, png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_models.registry import PICTURED

DOG, CAT, COW = noise(0, (40, 60)), noise(1, (70, 30)), noise(2, (40, 60))


@cache
def model(name: str) -> ChatBackbone:
    return PICTURED[name](0).backbone


def fresh(name: str) -> ChatBackbone:
    """The same model without memories."""
    known = model(name)
    return type(known)(known.model, known.processor)


@contextmanager
def counted(backbone: ChatBackbone) -> Iterator[list[int]]:
    """Pixel rows that reach the tower itself, a number a pass."""
    rows: list[int] = []
    tower: Any = backbone.tower
    plain = tower.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(args[0] if args else kwargs["pixel_values"]))
        return plain(*args, **kwargs)

    tower.forward = counting
    try:
        yield rows
    finally:
        del tower.forward


def about(picture: bytes, count: int, first: int = 0) -> list[Item]:
    return [Item(f"{first + row}", f"question {first + row}", (picture,)) for row in range(count)]


def prompts(backbone: ChatBackbone, items: list[Item]) -> list[Prompt]:
    return [backbone.encode(item) for item in items]


def states(backbone: ChatBackbone, items: list[Item], rows: int = 4) -> torch.Tensor:
    shown = prompts(backbone, items)
    budget = Budget(tokens=rows * max(len(prompt.ids) for prompt in shown))
    return read_activations(backbone, shown, [3], budget)


@contextmanager
def never_reused(backbone: ChatBackbone) -> Iterator[None]:
    backbone.features = PictureFeatures(None)
    try:
        yield
    finally:
        del backbone.features


@pytest.mark.parametrize("name", PICTURED)
def test_prompts_about_one_picture_run_its_rows_once(name: str) -> None:
    backbone = fresh(name)
    with counted(backbone) as alone, never_reused(backbone):
        states(backbone, about(DOG, 1))

    with counted(backbone) as rows:
        states(backbone, about(DOG, 8))
        states(backbone, about(DOG, 3, first=8))

    assert rows == alone


@pytest.mark.parametrize("name", PICTURED)
def test_activations_are_those_of_pictures_seen_anew(name: str) -> None:
    backbone = fresh(name)
    items = [
        *about(DOG, 2), *about(CAT, 2), Item("words", "no picture at all"), Item("both", "compare", (CAT, COW)),
        *about(DOG, 2, first=2), Item("turned", "compare", (COW, CAT)),
    ]  # fmt: skip
    with never_reused(backbone):
        anew = states(backbone, items)

    torch.testing.assert_close(states(backbone, items), anew, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states(backbone, items), anew, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PICTURED)
def test_slots_answer_as_plain_generate_does(name: str) -> None:
    backbone = fresh(name)
    items = [*about(DOG, 3), *about(COW, 2), *about(DOG, 2, first=3)]

    closed = tiny_bundle(backbone, threshold=2.0)
    engine = SlotEngine(backbone, closed, EngineOptions(max_new_tokens=4, slots=2))
    with counted(backbone) as rows:
        found = engine.generate(items)

    assert len(rows) <= 2
    assert [row.answer for row in found] == [
        decode(backbone, [prompt], 4)[0].text for prompt in prompts(backbone, items)
    ]


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl"])
def test_a_pass_that_sees_nothing_twice_is_bit_equal(name: str) -> None:
    backbone = fresh(name)
    items = [Item("a", "compare", (png("red", (40, 40)),))]
    with never_reused(backbone):
        anew = states(backbone, items)

    assert torch.equal(states(backbone, items), anew)
    assert torch.equal(states(backbone, items), anew)


def test_the_tower_is_whole_again_also_after_an_error() -> None:
    backbone = fresh("llava")
    before = dict(vars(backbone.tower))

    with pytest.raises(RuntimeError), backbone.features.reused():
        raise RuntimeError

    assert vars(backbone.tower) == before


def test_what_another_library_put_before_the_tower_is_kept() -> None:
    backbone = fresh("llava")
    with counted(backbone):
        placed = vars(backbone.tower)["forward"]
        with backbone.features.reused():
            pass
        assert vars(backbone.tower)["forward"] is placed


def test_a_picture_that_was_forgotten_is_seen_again() -> None:
    backbone = fresh("llava")
    backbone.features = PictureFeatures(backbone.tower, memory_bytes=0)

    with counted(backbone) as rows:
        states(backbone, about(DOG, 8), rows=8)
        states(backbone, about(DOG, 8), rows=8)

    assert rows == [1, 1]


def test_memory_holds_no_more_than_its_limit() -> None:
    backbone = fresh("llava")
    row_bytes = 4 * (2 * 5 * 16 + 16)
    backbone.features = PictureFeatures(backbone.tower, memory_bytes=2 * row_bytes)
    items = [Item(colour, "what is it", (png(colour),)) for colour in ("red", "blue", "green")]

    with counted(backbone) as rows:
        states(backbone, items)
        states(backbone, items[1:])
        states(backbone, items[:1])

    assert rows == [3, 1]


def test_rows_cut_in_proportion_join_to_the_same_and_keep_no_batch_in_memory() -> None:
    output = {"pooled": torch.rand(6, 2), "deep": [torch.rand(12, 3), None], "plain": torch.rand(12)}

    rows = cut(output, [4, 8])

    assert [len(row["pooled"]) for row in rows] == [2, 4]
    whole = joined(rows)
    assert torch.equal(whole["pooled"], output["pooled"]) and torch.equal(whole["deep"][0], output["deep"][0])
    assert whole["deep"][1] is None
    assert [row["plain"].untyped_storage().nbytes() for row in rows] == [16, 32]
    assert [bytes_of(row) for row in rows] == [16 + 48 + 16, 32 + 96 + 32]


def test_a_tower_with_unknown_tensors_beside_its_pixels_is_left_alone() -> None:
    seen: list[int] = []

    class Tower(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor, image_sizes: torch.Tensor) -> torch.Tensor:
            seen.append(len(pixel_values))
            return pixel_values * image_sizes

    tower = Tower()
    with PictureFeatures(tower).reused():
        out = tower(torch.ones(2, 3), image_sizes=torch.tensor([[1.0], [2.0]]))

    assert seen == [2]
    assert out.tolist() == [[1.0] * 3, [2.0] * 3]
