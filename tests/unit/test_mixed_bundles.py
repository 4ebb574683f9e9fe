"""Items that name the bundle which judges them: side by side in one call, each as under its bundle alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.bundle import Bundle
from autosteer_core.engine import Auditor, Engine, EngineOptions
from autosteer_core.equal_items import EqualItems
from autosteer_core.joint_audit import JointAudit
from autosteer_core.readers import Held
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import BundleId, Item, Verdict
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision

OPTIONS = EngineOptions(max_new_tokens=4, slots=4)
ONE, TWO = BundleId("one"), BundleId("two")
ITEMS = mixed_items(12)
SWITCHED = [replace(item, under=ONE if item.row % 3 else TWO) for item in ITEMS]


@pytest.fixture(scope="module")
def backbone() -> ChatBackbone:
    return tiny_llava_onevision()


@pytest.fixture(scope="module")
def held(backbone: ChatBackbone) -> dict[BundleId, Bundle]:
    """Two bundles that read other layers, open at other risks and steer elsewhere to."""
    down, up = (torch.randn(32, 4, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8))
    risks = sorted(row.risk for row in StaticEngine(backbone, tiny_bundle(backbone), OPTIONS).audit(ITEMS))
    two = replace(tiny_bundle(backbone, 0.5, layer=3), head=RefusalHead(down, up, 0.1))
    return {ONE: tiny_bundle(backbone, (risks[5] + risks[6]) / 2), TWO: two}


def said(rows: Sequence[Verdict]) -> list[tuple[object, ...]]:
    """Risks differ in their last digits between batch shapes."""
    return [
        (row.item_id, row.action, pytest.approx(row.risk, abs=1e-4), row.answer, row.gate_open, row.under)
        for row in rows
    ]


def bare(item: Item) -> Item:
    return replace(item, under=None)


Make = Callable[[ChatBackbone, Bundle, Held], Engine]
ENGINES: dict[str, Make] = {
    "slots": lambda backbone, bundle, held: SlotEngine(backbone, bundle, OPTIONS, held),
    "static": lambda backbone, bundle, held: StaticEngine(backbone, bundle, OPTIONS, held),
    "equal items": lambda backbone, bundle, held: EqualItems(
        SlotEngine(backbone, bundle, OPTIONS, held), lambda group: group
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_rows_of_two_bundles_in_one_stream_are_as_under_each_alone(
    backbone: ChatBackbone, held: dict[BundleId, Bundle], name: str
) -> None:
    engine = ENGINES[name](backbone, held[ONE], held.__getitem__)

    for judged in ("generate", "audit"):
        rows = getattr(engine, judged)(SWITCHED)
        wanted = [
            replace(
                getattr(StaticEngine(backbone, held[item.under], OPTIONS), judged)([bare(item)])[0], under=item.under
            )
            for item in SWITCHED
            if item.under
        ]
        assert said(rows) == said(wanted)
        assert len({(row.under, row.gate_open) for row in rows}) > 2


def test_an_audit_under_two_bundles_reads_each_at_its_own_sites(
    backbone: ChatBackbone, held: dict[BundleId, Bundle]
) -> None:
    beside = {"other": tiny_bundle(backbone, layer=4)}
    rows = JointAudit(backbone, held[ONE], beside, OPTIONS, held.__getitem__).audit(SWITCHED)

    for row, item in zip(rows, SWITCHED, strict=True):
        assert item.under is not None
        (alone,) = JointAudit(backbone, held[item.under], beside, OPTIONS).audit([bare(item)])
        assert said([row]) == said([replace(alone, under=item.under)])
        assert row.beside["other"].risk == pytest.approx(alone.beside["other"].risk, abs=1e-5)


def test_an_item_that_cannot_be_shown_is_an_error_under_its_bundle(
    backbone: ChatBackbone, held: dict[BundleId, Bundle]
) -> None:
    bad = Item("bad", "x", (b"no picture",), under=TWO)
    auditors: list[Auditor] = [
        SlotEngine(backbone, held[ONE], OPTIONS, held.__getitem__),
        JointAudit(backbone, held[ONE], {}, OPTIONS, held.__getitem__),
    ]

    rows = [row for auditor in auditors for row in auditor.audit([bad])]
    rows += SlotEngine(backbone, held[ONE], OPTIONS, held.__getitem__).generate([bad])

    assert {(row.action, row.under) for row in rows} == {("error", TWO)}


def test_a_bundle_that_is_not_held_is_replaced_by_no_other(
    backbone: ChatBackbone, held: dict[BundleId, Bundle]
) -> None:
    stranger = [Item("a", "hello", under=BundleId("gone"))]

    for engine in (
        SlotEngine(backbone, held[ONE], OPTIONS, held.__getitem__),
        SlotEngine(backbone, held[ONE], OPTIONS),
    ):
        with pytest.raises(KeyError, match="gone"):
            engine.audit(stranger)


def test_equal_items_under_other_bundles_are_computed_anew(
    backbone: ChatBackbone, held: dict[BundleId, Bundle]
) -> None:
    engine = ENGINES["equal items"](backbone, held[ONE], held.__getitem__)
    same = [Item(name, "tell me more", under=under) for name, under in (("a", ONE), ("b", TWO), ("c", ONE))]

    one, two, again = engine.generate(same)

    assert (one.under, two.under, again.under) == (ONE, TWO, ONE)
    assert one.risk == again.risk != two.risk
