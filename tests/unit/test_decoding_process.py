"""The process that pictures are decoded in: the same pictures, and its death is one picture's."""

import os
import signal

import pytest

from autosteer_core.errors import BadItem, TryAgain
from autosteer_core.pictures import LIMITS, decode_picture
from tests.pictures import encoded, noisy, png, turned
from workers.decoder_process import DecoderPatience, DecoderProcess


@pytest.fixture(scope="module")
def decoder() -> DecoderProcess:
    return DecoderProcess(DecoderPatience(pictures=40))


def test_it_starts_with_the_first_picture() -> None:
    idle = DecoderProcess()

    assert idle.pid is None
    with pytest.raises(BadItem, match="E_IMAGE_EMPTY"):
        idle.decode(b"")
    with pytest.raises(BadItem, match="E_IMAGE_BYTES"):
        idle.decode(bytes(LIMITS.max_bytes + 1))
    assert idle.pid is None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_are_as_they_are_without_it(decoder: DecoderProcess, form: str) -> None:
    for data in (encoded(noisy(1, (300, 70)), form), turned(6, form), png(size=(1500, 1100), form=form)):
        found, wanted = decoder.decode(data), decode_picture(data)

        assert (found.mode, found.size, found.tobytes()) == (wanted.mode, wanted.size, wanted.tobytes())


def test_what_is_wrong_with_a_picture_is_told_in_the_same_words(decoder: DecoderProcess) -> None:
    for data in (b"hm", png()[:60], png(size=(5, 600)), b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(BadItem) as here:
            decode_picture(data)
        with pytest.raises(BadItem) as there:
            decoder.decode(data)
        assert here.value.flaw == there.value.flaw


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_died_while_nobody_used_it_costs_no_picture(decoder: DecoderProcess, sent: int) -> None:
    decoder.decode(png())
    pid = decoder.pid
    assert pid is not None
    os.kill(pid, sent)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert decoder.decode(png()).size == (40, 40)
    assert decoder.pid != pid


def test_a_process_that_stands_still_is_replaced_and_costs_one_picture() -> None:
    decoder = DecoderProcess(DecoderPatience(picture=0.5))
    decoder.decode(png())
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGSTOP)

    with pytest.raises(BadItem, match=r"E_DECODER_DIED: .* stood still for 0.5 s over this picture alone: "):
        decoder.decode(png())
    assert decoder.decode(png()).size == (40, 40)


def test_a_process_is_replaced_after_so_many_pictures() -> None:
    decoder = DecoderProcess(DecoderPatience(pictures=2))

    pids = [decoder.decode(png()) and decoder.pid for _ in range(4)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_where_no_process_starts_the_part_goes_back() -> None:
    with pytest.raises(TryAgain, match="the process that decodes pictures ended with code 1 while it started"):
        DecoderProcess(command=("-c", "raise SystemExit(1)")).decode(png())


def test_it_ends_with_its_owner() -> None:
    decoder = DecoderProcess()
    decoder.decode(png())
    pid = decoder.pid
    assert pid is not None

    del decoder

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
