"""Many courses share the slots: none waits for another, and every one ends once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.engine import EngineOptions, in_chunks
from autosteer_core.request import Request
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Flaw, GateAction, Item, Lease, Part, PartId, Verdict
from autosteer_core.work import Course, Work
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock
from tests.tiny_items import mixed_items
from tests.tiny_look import look_bundle
from tests.tiny_model import tiny_llava_onevision
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker
from workers.patience import Patience

ITEMS = mixed_items(24)
LIMITS = [9, 2, 12, 1, 5, 7]
OPTIONS = EngineOptions(batch_rows=4, slots=4, max_new_tokens=12, band=0.0)
FLAW = Flaw("E_ROW_EMPTY", "empty")

Rows = list[tuple[str, str | None, int | None]]


@cache
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """One entry a decoding step, with the number of its rows: the output matrix runs at no other time."""
    rows: list[int] = []
    handle = backbone().head.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    try:
        yield rows
    finally:
        handle.remove()


def asking(*tokens: int) -> Course[list[int]]:
    """Asks for answers of so many tokens, one after the other; ends with their lengths."""
    bundle, prompt, lengths = look_bundle(backbone(), 1.0), backbone().encode(ITEMS[1]), []
    for limit in tokens:
        answer = yield Work(Request(prompt, limit), bundle, gate=True)
        assert answer is not None
        lengths.append(len(answer.ids))
    return lengths


def test_what_a_course_asks_for_later_is_decoded_beside_others() -> None:
    with counted_steps() as steps:
        ended = dict(SlotDecoder(backbone(), 2).drive([asking(1, 6), asking(7)]))

    assert ended == {0: [1, 6], 1: [7]}
    assert steps == [2] * 7


def test_what_a_course_asks_for_later_goes_before_what_others_ask_first() -> None:
    courses = [asking(2, 2), asking(2), asking(2)]

    assert [place for place, _ in SlotDecoder(backbone(), 1).drive(courses)] == [0, 1, 2]


def test_slots_that_are_in_use_are_refused_to_another_call() -> None:
    decoder = SlotDecoder(backbone(), 2)
    first = decoder.drive([asking(1), asking(3)])
    next(first)

    with pytest.raises(RuntimeError, match="in use"):
        next(decoder.drive([asking(1)]))

    assert list(first) == [(1, [3])]
    assert list(decoder.drive([asking(1)])) == [(0, [1])]


def test_follow_ups_of_a_stream_take_fewer_steps_than_rounds_of_their_own() -> None:
    look = look_bundle(backbone(), 0.5)
    options = replace(OPTIONS, compare=True)
    with counted_steps() as together:
        rows = SlotEngine(backbone(), look, options).generate(ITEMS[:12])
    with counted_steps() as apart:
        for item in ITEMS[:12]:
            SlotEngine(backbone(), look, options).generate([item])

    assert {row.opened_after is not None for row in rows} == {True, False}
    assert sum(together) == sum(apart)  # the same work
    assert len(together) <= 1.2 * sum(together) / options.slots


class Manifest:
    """ITEMS with limits of their own."""

    def files(self) -> list[tuple[str, int, str]]:
        return [("f", len(ITEMS), "")]

    def items(self, part: Part) -> Iterator[Item]:
        for row in range(part.start, part.stop):
            yield replace(ITEMS[row], max_new_tokens=LIMITS[row % len(LIMITS)])


def worked(judge: Judge) -> Rows:
    """What one worker commits of four parts."""
    queue, rows = MemoryQueue(FakeClock()), dict[int, Verdict]()
    queue.add([Part(PartId(f"p{start:02}"), "f", start, start + 6) for start in range(0, 24, 6)])

    def encode(verdicts: Sequence[Verdict], lease: Lease) -> bytes:
        rows.update((verdict.row, verdict) for verdict in verdicts)
        return b""

    lifeline = Lifeline(queue, 30.0)
    patience = Patience(lifeline.pulse)
    worker = PartWorker("w", queue, MemoryStore(), Manifest(), judge, encode, lifeline, patience, most_parts=8)
    assert worker.run(lambda: False) == 4
    return [(rows[row].item_id, rows[row].answer, rows[row].opened_after) for row in range(24)]


def test_slots_stay_full_across_parts() -> None:
    engine = SlotEngine(backbone(), look_bundle(backbone(), 0.5), OPTIONS)
    with counted_steps() as streamed:
        together = worked(engine.stream)
    with counted_steps() as drained:
        part_by_part = worked(in_chunks(engine.generate, 6))

    assert together == part_by_part
    assert sum(streamed) == sum(drained)
    assert len(streamed) < 0.85 * len(drained)
    assert streamed.count(4) > 0.8 * len(streamed)


@cache
def alone(row: int, limit: int | None, action: GateAction) -> Verdict:
    """The reference engine's verdict on one item alone."""
    item = replace(ITEMS[row], max_new_tokens=limit)
    options = replace(OPTIONS, gate_action=action)
    return StaticEngine(backbone(), look_bundle(backbone(), 0.5), options).generate([item])[0]


@settings(max_examples=20, deadline=None)
@given(
    asked=st.lists(st.tuples(st.integers(0, 11), st.sampled_from([1, 3, 4, None]), st.booleans()), max_size=20),
    action=st.sampled_from(GateAction),
    slots=st.integers(1, 5),
)
def test_a_stream_gives_every_item_the_verdict_it_gets_alone_exactly_once(
    asked: list[tuple[int, int | None, bool]], action: GateAction, slots: int
) -> None:
    items = [replace(ITEMS[row], max_new_tokens=limit, flaw=FLAW if flawed else None) for row, limit, flawed in asked]
    options = replace(OPTIONS, gate_action=action, slots=slots)

    streamed = list(SlotEngine(backbone(), look_bundle(backbone(), 0.5), options).stream(iter(items)))

    assert sorted(place for place, _ in streamed) == list(range(len(items)))
    for place, verdict in streamed:
        row, limit, flawed = asked[place]
        assert verdict.item_id == items[place].item_id
        assert verdict.flaw == (FLAW if flawed else None)
        wanted = None if flawed else alone(row, limit, action).answer
        assert verdict.answer == wanted
