"""Encoding processes die, stand still and lose their worker: no row is lost, and no process stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.encoding import Encoded
from autosteer_core.errors import BadItem, TryAgain, UserMistake
from autosteer_core.item_pictures import decode_all
from autosteer_core.values import Item
from tests.encoders import PixelEncoder, dying_encoder, refused_encoder
from tests.security.test_picture_sandbox import GOOD, crafted, hostile
from workers.encoding_pool import EncodingPool
from workers.encoding_process import Patience

pytestmark = pytest.mark.slow

LIMIT = 2**20
ORDINARY = [Item(f"item-{row}", f"text {row}") for row in range(12)]


@pytest.fixture(scope="module")
def pool() -> Iterator[EncodingPool]:
    made = EncodingPool(PixelEncoder, 2, LIMIT, patience=Patience(item=1.5))
    yield made
    made.close()


def codes(encoded: list[Encoded]) -> list[str]:
    """Of the bad items; every item must be there, in order."""
    return [f"{item.item_id}: {prompt}" for item, prompt in encoded if isinstance(prompt, BadItem)]


def is_gone(pid: int) -> bool:
    """Ended, whoever still has to read its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < deadline, "an encoding process stayed behind"
        time.sleep(0.05)


def test_a_process_that_dies_once_costs_no_row(pool: EncodingPool, tmp_path: Path) -> None:
    given = [*ORDINARY[:4], Item("unlucky", f"die {tmp_path}/once"), *ORDINARY[4:]]
    before = pool.pids

    encoded = list(pool.encode(given))

    assert [item for item, _ in encoded] == given
    assert codes(encoded) == []
    assert pool.pids != before


@pytest.mark.parametrize("deed", ["die", "stand-still"])
def test_an_item_that_takes_two_processes_down_is_an_error_row_and_no_other_is(pool: EncodingPool, deed: str) -> None:
    given = [*ORDINARY[:4], Item("bomb", deed), *ORDINARY[4:]]

    encoded = list(pool.encode(given))

    assert [item for item, _ in encoded] == given
    (error,) = codes(encoded)
    assert error.startswith("bomb: E_ENCODER_DIED: 2 processes died or stood still for 1.5 s over this item alone: ")


class DecodedElsewhere:
    """As a model's encoder, whose decoder has been taken over by the pictures."""

    def __init__(self) -> None:
        self.decoder = hostile()

    def encode(self, item: Item) -> ChatPrompt:
        """Only the sizes."""
        return ChatPrompt([picture.width for picture in decode_all(item.images, self.decoder)])


def test_a_picture_that_kills_its_decoder_does_not_kill_the_encoding_process() -> None:
    pool = EncodingPool(DecodedElsewhere, 1, LIMIT)
    given = [Item("good", "", (GOOD,)), Item("bad", "", (crafted("segv"),)), Item("good again", "", (GOOD,))]
    before = pool.pids

    encoded = list(pool.encode(given))

    pids = pool.pids
    pool.close()
    assert pids == before
    assert [item for item, _ in encoded] == given
    (error,) = codes(encoded)
    assert error.startswith("bad: E_DECODER_DIED: the process that decodes pictures was killed by signal 11 ")


def test_a_process_killed_while_nobody_uses_it_is_replaced(pool: EncodingPool) -> None:
    list(pool.encode(ORDINARY))
    os.kill(pool.pids[0], signal.SIGKILL)

    assert codes(list(pool.encode(ORDINARY))) == []


def test_a_model_that_cannot_be_used_is_the_users_mistake() -> None:
    pool = EncodingPool(refused_encoder, 1, LIMIT)

    with pytest.raises(UserMistake, match="^no such model$"):
        list(pool.encode(ORDINARY))
    pool.close()


def test_a_process_that_cannot_start_sends_the_part_back() -> None:
    pool = EncodingPool(dying_encoder, 1, LIMIT)

    with pytest.raises(TryAgain, match="an encoding process ended .* while it started: .*encoding_processes=0"):
        list(pool.encode(ORDINARY))
    pool.close()


def test_processes_end_with_their_pool_even_in_the_middle() -> None:
    closed, dropped = EncodingPool(PixelEncoder, 1, LIMIT), EncodingPool(PixelEncoder, 1, LIMIT)
    pids = closed.pids + dropped.pids
    streams = [closed.encode([Item("a", "sleep 60")]), dropped.encode([*ORDINARY, Item("a", "sleep 60")])]
    next(streams.pop())

    closed.close()
    del dropped

    assert_gone(pids)
    with pytest.raises(RuntimeError, match="were ended"):
        next(streams[0])


WORKER = """
import os, sys
from autosteer_core.values import Item
from tests.encoders import PixelEncoder
from workers.encoding_pool import EncodingPool

pool = EncodingPool(PixelEncoder, 1, 2**20)
stream = pool.encode([Item("a", "hm"), Item("b", "sleep 5"), Item("c", "sleep 5")])
next(stream)
print(*pool.pids, flush=True)
next(stream)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_when_their_worker_does_in_whatever_way(sent: signal.Signals) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert worker.stdout is not None
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert len(pids) == 1 and not is_gone(pids[0])

    os.killpg(worker.pid, sent)
    _, errors = worker.communicate(timeout=20)

    assert_gone(pids)
    assert errors.count("Traceback") == (1 if sent is signal.SIGINT else 0)  # the worker's own
