"""Equal items are computed once, whatever engine is behind, and every row still gets a verdict of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.modules.module import register_module_forward_hook

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.engine import EngineOptions
from autosteer_core.equal_items import HELD_ROWS, EqualItems
from autosteer_core.recent import Recent
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.values import Action, Annotation, Flaw, Item, Label, Verdict
from pipelines.engines import build_auditor, build_engine
from pipelines.settings import load_settings
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.workspace import make_workspace

OPTIONS = EngineOptions(max_new_tokens=5, slots=3)
NO_MEMORY = Flaw("E_MEMORY", "no room")


class Echo:
    """Answers with the item's text; `slots` items are in flight, and one of them, by chance, is finished next."""

    def __init__(self, slots: int = 1, seed: int = 0, broken: Callable[[Item], bool] = lambda item: False) -> None:
        self.slots = slots
        self.luck = Random(seed)
        self.broken = broken
        self.seen: list[Item] = []

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        return [verdict for _, verdict in sorted(self.stream(items), key=lambda each: each[0])]

    audit = generate

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        numbered = enumerate(items)
        flying: list[tuple[int, Item]] = []
        while True:
            while len(flying) < self.slots and (coming := next(numbered, None)):
                flying.append(coming)
                self.seen.append(coming[1])
            if not flying:
                return
            number, item = flying.pop(self.luck.randrange(len(flying)))
            yield number, self.verdict(item)

    def verdict(self, item: Item) -> Verdict:
        flaw = NO_MEMORY if self.broken(item) else None
        action, text = (Action.ERROR, None) if flaw else (Action.ANSWER, f"{item.text}!")
        return Verdict(item.item_id, item.row, action, 0.1, text, flaw, annotation=item.annotation)


def wrapped(echo: Echo, memory_bytes: int = 2**20) -> EqualItems:
    return EqualItems(echo, lambda group: "no", memory_bytes)


def rows(texts: Iterable[str]) -> list[Item]:
    return [
        Item(f"id-{row}", text, row=row, annotation=Annotation(source=f"source-{row}"))
        for row, text in enumerate(texts)
    ]


@cache
def slots_engine() -> tuple[LlavaOnevision, SlotEngine, EqualItems]:
    from tests.tiny_model import tiny_llava_onevision

    backbone = tiny_llava_onevision()
    bundle = tiny_bundle(backbone, 0.5)
    engine = SlotEngine(backbone, bundle, OPTIONS)
    return backbone, engine, EqualItems(SlotEngine(backbone, bundle, OPTIONS), bundle.refusal_for)


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_slots_answer_equal_rows_as_they_would_have_each(kind: str) -> None:
    _, plain, once = slots_engine()
    first = mixed_items(8)
    items = first + [replace(item, item_id=f"again-{item.row}", row=item.row + 8) for item in first[::-1]]

    found = getattr(once, kind)(items)

    for row, wanted in zip(found, getattr(plain, kind)(items), strict=True):
        assert row == replace(wanted, risk=row.risk)
        assert row.risk == pytest.approx(wanted.risk, abs=1e-5)


def test_rows_of_a_later_chunk_run_no_model() -> None:
    backbone, _, once = slots_engine()
    items = mixed_items(8)
    wanted = once.generate(items)
    passes: list[object] = []
    handle = backbone.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    try:
        assert once.generate(items) == wanted
        assert once.generate([]) == []
    finally:
        handle.remove()

    assert not passes


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_the_engine_of_a_worker_computes_equal_items_once(kind: str, tmp_path: Path) -> None:
    make_workspace(tmp_path, rows=1)
    settings = load_settings(model=str(tmp_path / "model"), bundle=str(tmp_path / "bundle"), max_new_tokens=3)
    engine = build_engine(settings) if kind == "generate" else build_auditor(settings, {})
    judge = getattr(engine, kind)
    wanted = judge(mixed_items(4))
    passes: list[object] = []
    handle = register_module_forward_hook(lambda *_: passes.append(1))
    try:
        assert judge(mixed_items(4)) == wanted
        assert not passes
        judge(mixed_items(5))
        assert passes
    finally:
        handle.remove()


@given(
    st.lists(st.sampled_from("abcdef"), max_size=40),
    st.integers(1, 6),
    st.integers(0, 99),
    st.sets(st.sampled_from("abcdef"), max_size=2),
)
def test_every_row_gets_the_verdict_it_would_have_got(texts: list[str], slots: int, seed: int, bad: set[str]) -> None:
    items = rows(texts)
    echo = Echo(slots, seed, lambda item: item.text in bad)

    found = list(wrapped(echo).stream(items))

    assert sorted(place for place, _ in found) == list(range(len(items)))
    assert all(verdict == echo.verdict(items[place]) for place, verdict in found)
    computed = [item.text for item in echo.seen]
    assert all(computed.count(text) == (texts.count(text) if text in bad else 1) for text in set(texts))


@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.sets(st.sampled_from("abcdef"), max_size=2))
def test_a_list_gets_the_same_verdicts_in_order(texts: list[str], bad: set[str]) -> None:
    items = rows(texts)
    echo = Echo(broken=lambda item: item.text in bad)

    assert wrapped(echo).generate(items) == [echo.verdict(item) for item in items]
    assert len(echo.seen) == sum(texts.count(text) if text in bad else 1 for text in set(texts))


def test_a_row_equal_to_one_in_flight_keeps_no_new_row_waiting() -> None:
    echo = Echo(slots=3)

    next(wrapped(echo).stream(rows("aaaabc")))

    assert [item.text for item in echo.seen] == ["a", "b", "c"]


def test_nothing_is_read_before_the_engine_asks_for_it() -> None:
    read: list[str] = []
    items = (read.append(item.text) or item for item in rows("abcdefgh"))  # type: ignore[func-returns-value]

    next(wrapped(Echo(slots=2)).stream(items))

    assert read == ["a", "b"]


def test_an_endless_run_of_equal_rows_cannot_keep_the_engine_from_its_next_step() -> None:
    read: list[int] = []
    endless = (read.append(row) or Item(f"id-{row}", "a", row=row) for row in iter(int, 1))  # type: ignore[func-returns-value]

    next(wrapped(Echo(slots=2)).stream(endless))

    assert len(read) == HELD_ROWS + 2


@pytest.mark.parametrize(
    "other",
    [
        Item("x", "b"),
        Item("x", "a", (png("red"),)),
        Item("x", "a", (png("blue"), png("red"))),
        Item("x", "a", (png("red"), png("blue")), max_new_tokens=3),
        Item("x", "a", (png("red"), png("blue")), flaw=Flaw("E_ROW", "torn")),
        Item("x", "a", (png("red"), png("blue")), annotation=Annotation(group="self-harm")),
    ],
)
def test_items_that_the_model_would_see_otherwise_are_computed(other: Item) -> None:
    echo = Echo()
    once = EqualItems(echo, {"self-harm": "Please call someone."}.get)  # type: ignore[arg-type]

    once.generate([Item("y", "a", (png("red"), png("blue"))), other])

    assert len(echo.seen) == 2


def test_what_the_author_says_of_an_item_is_its_own_and_makes_it_no_other_item() -> None:
    known = Annotation(Label.HARMFUL, "violence", "pair-1", "set")
    items = [Item("x", "a", (png("red"),), 3), Item("y", "a", (png("red"),), 4, known)]
    echo = Echo()

    found = wrapped(echo).generate(items)

    assert len(echo.seen) == 1
    assert [(row.item_id, row.row, row.annotation) for row in found] == [("x", 3, Annotation()), ("y", 4, known)]


def test_an_audit_has_no_wording_and_no_part_in_answers() -> None:
    items = [Item("x", "a"), Item("y", "a", annotation=Annotation(group="self-harm"))]
    echo = Echo()
    once = EqualItems(echo, {"self-harm": "Please call someone."}.get)  # type: ignore[arg-type]

    once.audit(items)
    assert len(echo.seen) == 1

    once.generate(items[:1])
    assert len(echo.seen) == 2


def test_the_memory_forgets_what_was_used_longest_ago() -> None:
    memory: Recent[str] = Recent(30)
    for name in (b"a", b"b", b"c"):
        memory.put(name, name.decode(), 10)
    memory.get(b"a")

    memory.put(b"d", "d", 10)
    memory.put(b"huge", "huge", 31)

    assert [memory.get(name) for name in (b"a", b"b", b"c", b"d", b"huge")] == ["a", None, "c", "d", None]


def test_forgotten_rows_are_computed_again() -> None:
    echo = Echo()
    once = wrapped(echo, memory_bytes=0)

    assert once.generate(rows("ab")) == once.generate(rows("ab"))
    assert len(echo.seen) == 4
