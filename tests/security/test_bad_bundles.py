"""No bad bundle takes the place of the one that serves, and nothing in one is ever run."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from torch import Tensor

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_reading import admit, from_files
from autosteer_core.bundle_slot import BundleSlot
from autosteer_core.errors import BundleRefused
from pipelines.bundle_files import read_files
from tests.bundle_bytes import STRANGER, TRUST, card_with, signed, weights_with
from tests.security.bad_bundles import EPOCH, MARKER, Bad, Marker, bad_bundles, good

pytestmark = pytest.mark.security
STRICT = replace(TRUST, least_epoch=EPOCH)
_heard: list[str] = []
_listening = False


def readings(bundle: Bundle) -> tuple[Tensor, Tensor, float]:
    """What the bundle decides and what it changes, for states that are always the same."""
    states = torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(3))
    return (
        bundle.probe.risk(states[:, 0]),
        bundle.head.steer(states, torch.ones(4, dtype=torch.bool)),
        bundle.guarantee.threshold,
    )


def same(one: tuple[Tensor, Tensor, float], other: tuple[Tensor, Tensor, float]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]


@contextmanager
def pickles_heard() -> Iterator[list[str]]:
    """Every class that any unpickler in this process looks up meanwhile."""
    global _listening
    if not _heard and not hasattr(sys, "_autosteer_hook"):
        sys.addaudithook(_hear)
        sys._autosteer_hook = True  # type: ignore[attr-defined]
    _heard.clear()
    _listening = True
    try:
        yield _heard
    finally:
        _listening = False


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _listening and event == "pickle.find_class":
        _heard.append(str(arguments))


@pytest.mark.parametrize("bad", bad_bundles(), ids=lambda bad: f"{bad.number}-{bad.name}")
def test_a_bad_bundle_is_refused_by_its_code_and_the_old_one_reads_as_before(bad: Bad) -> None:
    slot = BundleSlot(good(), STRICT)
    held, before = slot.serving, readings(slot.serving)

    with pickles_heard() as heard, pytest.raises(BundleRefused) as refused:
        slot.offer(bad.files)

    assert refused.value.code == bad.code and bad.place in str(refused.value), str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert slot.serving is held and slot.epoch == EPOCH
    assert same(readings(slot.serving), before)
    assert not heard and not MARKER.exists()


def test_there_are_enough_of_them(report: Callable[[str, object], None]) -> None:
    bad = bad_bundles()
    report("bad bundles refused, old one serving", f"{len(bad)} of {len(bad)}")

    assert len(bad) >= 30
    assert len({json.dumps({name: data.hex() for name, data in one.files.items()}) for one in bad}) == len(bad)


def test_the_hook_hears_a_pickle_that_is_read(tmp_path: Path) -> None:
    """Otherwise its silence would say nothing."""
    import pickle

    with pickles_heard() as heard:
        pickle.loads(pickle.dumps(Marker())).close()  # noqa: S301

    assert heard
    assert MARKER.exists()
    MARKER.unlink()


def test_a_good_bundle_takes_over_at_once() -> None:
    slot = BundleSlot(good(), STRICT)
    other = signed(card_with(good(), epsilon=0.2), epoch=EPOCH + 1)

    slot.offer(other)

    assert (slot.serving.head.epsilon, slot.epoch) == (0.2, EPOCH + 1)
    assert not same(readings(slot.serving), readings(from_files(good())))


def test_what_was_replaced_comes_back_only_by_a_new_signature() -> None:
    slot = BundleSlot(good(), STRICT)
    slot.offer(signed(card_with(good(), epsilon=0.2), epoch=EPOCH + 1))

    with pytest.raises(BundleRefused, match="of epoch 5, the one that serves of 6") as refused:
        slot.offer(good())
    assert refused.value.code == "E_ARTIFACT_STALE"

    slot.offer(signed(good(), epoch=EPOCH + 2))
    assert same(readings(slot.serving), readings(from_files(good())))


def test_a_bundle_of_another_model_does_not_take_over() -> None:
    slot = BundleSlot(good(), STRICT)

    with pytest.raises(BundleRefused) as refused:
        slot.offer(signed(card_with(good(), fingerprint="b" * 64), epoch=EPOCH))

    assert refused.value.code == "E_ARTIFACT_BASE"
    assert "aaaaaaaaaaaa" in str(refused.value) and "bbbbbbbbbbbb" in str(refused.value)


def test_without_the_signature_a_forgery_would_serve() -> None:
    """The forgery is sound in all else: it is the signature that stops it."""
    forged = signed(card_with(good(), epsilon=0.0), STRANGER, EPOCH)

    with pytest.raises(BundleRefused, match="is signed by key"):
        admit(forged, TRUST)
    assert admit(forged, replace(TRUST, allow_unsigned=True)).bundle.head.epsilon == 0


def test_a_file_that_is_exchanged_all_the_time_gives_the_signed_bundle_or_none(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    """The hashed bytes are parsed: a second look at the disk would now and then find the other file."""
    evil = weights_with(good(), {"probe.outer_weight": -from_files(good()).probe.outer_weight})[WEIGHTS]
    for name, data in good().items():
        (tmp_path / name).write_bytes(data)
    stop, expected = Event(), readings(from_files(good()))
    exchanger = Thread(target=_exchange, args=(tmp_path, [evil, good()[WEIGHTS]], stop))
    exchanger.start()
    served = refused = 0
    try:
        while served + refused < 400 or not (served and refused):
            try:
                found = admit(read_files(str(tmp_path)), TRUST)
            except BundleRefused as error:
                assert error.code == "E_ARTIFACT_UNTRUSTED"
                refused += 1
                continue
            assert same(readings(found.bundle), expected)
            served += 1
    finally:
        stop.set()
        exchanger.join()
    report("loads while the weights were exchanged", f"{served} served as signed, {refused} refused, 0 others")


def _exchange(folder: Path, contents: list[bytes], stop: Event) -> None:
    turn = 0
    while not stop.is_set():
        (folder / "next").write_bytes(contents[turn % 2])
        (folder / "next").replace(folder / WEIGHTS)
        turn += 1


def test_the_bundle_of_these_tests_is_good() -> None:
    """Otherwise everything above would be refused for another reason."""
    admitted = admit(good(), STRICT)

    assert admitted.epoch == EPOCH
    assert set(good()) == {CARD, SIGNATURE, WEIGHTS}
