"""Several bundles read one pass over the rows as each would read a pass of its own."""

import math
from dataclasses import replace

import pytest
import torch

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.bundle import Bundle
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BundleRefused
from autosteer_core.joint_audit import JointAudit
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Action, Fingerprint, Item, Pooling, Site
from tests.tiny_bundle import WIDTH, tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision

ITEMS = [*mixed_items(12), Item("broken", "look", (b"no picture",))]
OPTIONS = EngineOptions(batch_rows=4)


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def two_sites(bundle: Bundle) -> Bundle:
    probe = replace(
        bundle.probe,
        mean=torch.zeros(2 * WIDTH),
        scale=torch.ones(2 * WIDTH),
        inner_weight=torch.randn(8, 2 * WIDTH, generator=torch.Generator().manual_seed(2)),
    )
    return replace(bundle, sites=(Site(3, Pooling.MEAN), Site(1, Pooling.LAST)), probe=probe)


def test_every_bundle_reads_what_it_reads_alone(backbone: LlavaOnevision) -> None:
    own, other = tiny_bundle(backbone), two_sites(tiny_bundle(backbone))

    together = JointAudit(backbone, own, {"other": other, "same": own}, OPTIONS).audit(ITEMS)

    alone = [StaticEngine(backbone, bundle, OPTIONS).audit(ITEMS) for bundle in (own, other)]
    for verdict, mine, theirs in zip(together[:-1], *(rows[:-1] for rows in alone), strict=True):
        assert replace(verdict, beside={}, risk=0.0) == replace(mine, risk=0.0)
        assert math.isclose(verdict.risk, mine.risk, abs_tol=1e-5)
        assert verdict.beside["same"].risk == verdict.risk
        assert math.isclose(verdict.beside["other"].risk, theirs.risk, abs_tol=1e-5)
        assert verdict.beside["other"].gate_open == (theirs.action is Action.FLAG)
    assert len({verdict.action for verdict in together}) == 3


def test_a_broken_item_costs_its_own_row_and_has_no_readings(backbone: LlavaOnevision) -> None:
    *_, last = JointAudit(backbone, tiny_bundle(backbone), {"same": tiny_bundle(backbone)}, OPTIONS).audit(ITEMS)

    assert (last.action, last.beside) == (Action.ERROR, {})


def test_a_risk_that_is_no_number_is_no_reading(backbone: LlavaOnevision) -> None:
    own = tiny_bundle(backbone)
    blind = replace(own, probe=replace(own.probe, outer_bias=torch.tensor(math.nan)))

    rows = JointAudit(backbone, own, {"blind": blind}, OPTIONS).audit(ITEMS[:3])
    reviewed = JointAudit(backbone, blind, {"own": own}, OPTIONS).audit(ITEMS[:3])

    assert all("blind" not in row.beside and row.action is not Action.REVIEW for row in rows)
    assert all(row.action is Action.REVIEW and "own" in row.beside for row in reviewed)


def test_a_bundle_of_another_model_is_refused_wherever_it_stands(backbone: LlavaOnevision) -> None:
    own = tiny_bundle(backbone)

    with pytest.raises(BundleRefused):
        JointAudit(backbone, own, {"foreign": replace(own, fingerprint=Fingerprint("other"))}, OPTIONS)
