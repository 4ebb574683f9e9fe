"""Encoding ahead in real processes: what comes out, what is held, what the consumer hears of."""

import gc
import itertools
import json
import os
import time
from collections.abc import Iterator

import pytest
import torch

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.encoding import Encoded, InlineEncoder
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.values import Flaw, Item
from tests.encoders import PixelEncoder
from tests.pictures import png
from workers.encoding_pool import EncodingPool

LIMIT = 4 * 2**20


@pytest.fixture(scope="module")
def pool() -> Iterator[EncodingPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
        made = EncodingPool(PixelEncoder, 2, LIMIT)
    yield made
    made.close()


def items(count: int) -> list[Item]:
    """Text, and pictures of many sizes, some of them broken."""
    pictures = [(), (png("red", (20, 30)),), (png("blue", (90, 7)), png(size=(5, 5))), (b"broken",)]
    return [Item(f"item-{row}", f"number {row} ü"[: 8 + row % 5], pictures[row % 4]) for row in range(count)]


def said(encoded: Encoded) -> object:
    """All that can be compared."""
    item, prompt = encoded
    if isinstance(prompt, BadItem):
        return item, prompt.flaw
    assert isinstance(prompt, ChatPrompt)
    return item, prompt.ids, {name: (each.dtype, each.tolist()) for name, each in prompt.pictures.items()}


def test_the_same_comes_out_in_the_same_order_as_without_processes(pool: EncodingPool) -> None:
    given = [*items(40), Item("flawed", "", flaw=Flaw("E_ROW", "unreadable")), Item("spoilt", "spoil by will")]

    ahead = [said(each) for each in pool.encode(given)]

    assert ahead == [said(each) for each in InlineEncoder(PixelEncoder()).encode(given)]


def test_no_item_no_prompt(pool: EncodingPool) -> None:
    assert list(pool.encode([])) == []


def test_an_endless_source_is_read_only_so_far_ahead(pool: EncodingPool) -> None:
    drawn = itertools.count()
    source = (Item(str(number), "text", row=number) for number in drawn)

    got = [item.row for item, _ in itertools.islice(pool.encode(source), 50)]

    assert got == list(range(50))
    assert next(drawn) <= 50 + 128


def bytes_of_prompts() -> int:
    """Of all prompts that are alive."""
    prompts = [each for each in gc.get_objects() if isinstance(each, ChatPrompt)]
    return sum(tensor.nbytes for prompt in prompts for tensor in prompt.pictures.values())


def test_a_slow_consumer_never_has_more_than_the_limit_and_an_item_a_process(pool: EncodingPool) -> None:
    picture = png(size=(300, 200))
    size = 300 * 200 * 3 * 4

    most = 0
    for row, _ in enumerate(pool.encode([Item(str(row), "", (picture,)) for row in range(24)])):
        time.sleep(0.03)
        if row % 3 == 0:
            most = max(most, bytes_of_prompts())

    assert LIMIT / 2 < most <= LIMIT + 3 * size  # two in the processes, one in the consumer's hand


def test_open_files_do_not_grow_with_the_pictures_held(pool: EncodingPool) -> None:
    given = [Item(str(row), "", (png(size=(20 + row % 50, 30)),) * 2) for row in range(300)]
    before = len(os.listdir("/proc/self/fd"))

    held = list(pool.encode(given))

    assert len(os.listdir("/proc/self/fd")) == before
    assert sum(len(prompt.pictures) for _, prompt in held if isinstance(prompt, ChatPrompt)) == 600


def test_a_consumer_that_leaves_half_way_disturbs_nobody(pool: EncodingPool) -> None:
    first, second = pool.encode(items(30)), pool.encode(items(30))

    begun = [(said(next(first)), said(next(second))) for _ in range(5)]
    first.close()
    rest = [said(each) for each in second]

    wanted = [said(each) for each in InlineEncoder(PixelEncoder()).encode(items(30))]
    assert begun == [(each, each) for each in wanted[:5]]
    assert rest == wanted[5:]


def test_what_the_source_raises_reaches_the_consumer(pool: EncodingPool) -> None:
    def source() -> Iterator[Item]:
        yield from items(3)
        raise OSError("the manifest is gone")

    with pytest.raises(OSError, match="the manifest is gone"):
        list(pool.encode(source()))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("refuse choose another model", UserMistake, "^choose another model$"),
        ("break unheard of", RuntimeError, "an encoding process failed: ValueError: unheard of"),
    ],
)
def test_an_error_in_a_process_is_raised_where_its_item_is_due(
    pool: EncodingPool, text: str, error: type[Exception], message: str
) -> None:
    stream = pool.encode([*items(3), Item("a", text), *items(3)])

    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(error, match=message):
        next(stream)
    assert len(list(pool.encode(items(4)))) == 4


def test_the_consumers_pulse_goes_on_while_it_waits_and_may_end_the_call() -> None:
    class Ended(Exception):
        pass

    def pulse() -> None:
        raise Ended

    pool = EncodingPool(PixelEncoder, 1, LIMIT, pulse)
    try:
        with pytest.raises(Ended):
            list(pool.encode([Item("a", "sleep 60")]))
    finally:
        pool.close()


def test_prompts_are_made_while_the_consumer_works(pool: EncodingPool) -> None:
    stream = pool.encode([Item(str(row), "sleep 0.1") for row in range(10)])
    next(stream)
    time.sleep(1.5)

    started = time.perf_counter()
    rest = list(stream)

    assert len(rest) == 9
    assert time.perf_counter() - started < 0.3


def test_a_prompts_tensors_can_be_written_to(pool: EncodingPool) -> None:
    (_, prompt), *_ = pool.encode([Item("a", "", (png(),))])

    assert isinstance(prompt, ChatPrompt)
    assert torch.all(prompt.pictures["pixels_0"].add_(1) >= 1)


def test_a_process_sees_no_secret_no_gpu_no_ray_and_has_one_thread(pool: EncodingPool) -> None:
    ((_, answer),) = pool.encode([Item("a", "confess")])

    assert isinstance(answer, BadItem)
    seen = json.loads(answer.flaw.message)
    assert "a secret" not in answer.flaw.message
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert (seen["ray"], seen["threads"]) == (False, 1)
