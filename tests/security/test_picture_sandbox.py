"""A decoder that crafted pictures have taken over harms nobody: the worker lives, and nothing gets out."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Timer

import psutil
import pytest

from autosteer_core.errors import BadItem
from tests.pictures import png
from tests.security.hostile_decoder import ATTEMPTS, MARK
from tests.security.scale import scaled
from workers.decoder_process import DecoderPatience, DecoderProcess
from workers.decoding_sandbox import MEMORY_BYTES

pytestmark = pytest.mark.security

GOOD = png(size=(40, 30))
# What a picture may do to its process; the silent ones wait for the clock on the wall, so there are fewer of them.
DEADLY = (
    "segv", "abort", "exit", "spin", "memory", "small pieces", "gigabyte", "no size", "nonsense", "nested",
    "long head", "lie", "half", "sleep",
)  # fmt: skip
SILENT = ("still", "drip")


def hostile(port: int = 0, cpu_seconds: float = 0.3, wall_seconds: float = 5.0) -> DecoderProcess:
    """A decoder whose program does as it is told."""
    command = ("-m", "tests.security.hostile_decoder", str(port), str(cpu_seconds))
    return DecoderProcess(DecoderPatience(picture=wall_seconds), command)


@pytest.fixture
def taken_over() -> Iterator[DecoderProcess]:
    made = hostile(wall_seconds=1.0)
    yield made
    made.close()


def crafted(deed: str) -> bytes:
    """A picture with a deed behind it."""
    return GOOD + MARK + deed.encode()


def test_a_hundred_crafted_pictures_cost_their_own_rows_and_no_worker(
    taken_over: DecoderProcess, report: Callable[[str, object], None]
) -> None:
    count, ended, slowest = scaled(100), Counter[str](), 0.0
    before = psutil.Process().memory_info().rss
    for number in range(count):
        deed = SILENT[number // 25 % 2] if number % 25 == 24 else DEADLY[number % len(DEADLY)]
        began = time.monotonic()
        with pytest.raises(BadItem) as refused:
            taken_over.decode(crafted(deed))
        slowest = max(slowest, time.monotonic() - began)
        ended[refused.value.flaw.code] += 1

        assert taken_over.decode(GOOD).size == (40, 30), deed

    grown = psutil.Process().memory_info().rss - before
    report("crafted pictures", f"{count}, of which {dict(ended)}; slowest {slowest:.1f} s, 0 worker deaths")
    assert ended == {"E_DECODER_DIED": count}
    assert slowest < 5
    assert grown < 64 * 2**20


def test_a_process_that_fills_its_memory_never_has_more_than_its_limit(report: Callable[[str, object], None]) -> None:
    # In a process that has no other children: the kernel tells only of the largest of all.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        most = alone.submit(_largest_decoder).result()

    report("largest decoder, filling memory", f"{most / 2**20:.0f} MiB of {MEMORY_BYTES / 2**20:.0f}")
    assert most <= MEMORY_BYTES


def _largest_decoder() -> int:
    """Most bytes that any of the decoders had in memory at once."""
    decoder = hostile(wall_seconds=1.0)
    for deed in ("memory", "small pieces"):
        decoder.decode(GOOD)
        assert psutil.Process(decoder.pid).memory_info().vms < MEMORY_BYTES / 4
        with pytest.raises(BadItem, match="E_DECODER_DIED"):
            decoder.decode(crafted(deed))
    decoder.close()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def test_nothing_gets_out_of_a_process_that_was_taken_over(
    monkeypatch: pytest.MonkeyPatch, report: Callable[[str, object], None]
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "HF_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        decoder = hostile(listener.getsockname()[1])
        with pytest.raises(BadItem) as told:
            decoder.decode(crafted("break out"))
        decoder.close()
        with pytest.raises(TimeoutError):
            listener.accept()

    came = dict(each.split("=", 1) for each in told.value.flaw.message.split() if "=" in each)
    report("deeds tried in a decoder that was taken over", f"{len(ATTEMPTS)}, done 0")
    assert came.keys() == {*ATTEMPTS, "secrets"}
    assert {name for name in ATTEMPTS if came[name] in {"done", "BadItem"}} == set()
    assert set(came["secrets"].split(",")) <= {"PYTHONPATH", "LC_ALL", "LC_CTYPE"}


def test_the_same_deeds_succeed_outside_so_that_the_walls_are_what_stops_them() -> None:
    """The negative control, in a process without walls: this one."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as line:
        line.connect(listener.getsockname())
    for name in ("udp", "read", "code", "list"):
        ATTEMPTS[name]()
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_decoder_killed_from_outside_is_asked_a_second_time() -> None:
    decoder = hostile(wall_seconds=1.0)
    decoder.decode(GOOD)
    first = decoder.pid
    assert first is not None
    killer = Timer(0.2, os.kill, (first, signal.SIGKILL))
    killer.start()

    with pytest.raises(BadItem, match="stood still for 1 s"):  # the second time
        decoder.decode(crafted("still"))
    killer.join()


WORKER = """
from tests.security.test_picture_sandbox import GOOD, crafted, hostile

decoder = hostile(cpu_seconds=600, wall_seconds=600)
decoder.decode(GOOD)
print(decoder.pid, flush=True)
decoder.decode(crafted("spin"))
"""


def test_a_decoder_ends_with_its_worker_even_while_it_spins() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert worker.stdout is not None
    decoder = psutil.Process(int(worker.stdout.readline()))
    while decoder.cpu_times().user < 0.3:
        time.sleep(0.02)

    worker.kill()
    worker.communicate(timeout=20)

    _, alive = psutil.wait_procs([decoder], timeout=5)
    assert not alive


def test_the_real_decoder_stands_behind_all_walls_and_sees_no_environment() -> None:
    decoder = DecoderProcess()
    try:
        decoder.decode(GOOD)
        seen = psutil.Process(decoder.pid)
        status = (open(f"/proc/{seen.pid}/status").read()).split("\n")  # noqa: SIM115

        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
        assert seen.num_threads() == 1
    finally:
        decoder.close()
