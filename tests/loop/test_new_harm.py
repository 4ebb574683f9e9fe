"""A kind of harm that the demo's calibration never shows: a first probe misses it, and a few labels teach it."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from autosteer_core.activations import read_activations
from autosteer_core.guarantee import Bounds
from autosteer_core.labelled import HoldOut, Labelled, Split, labelled, split
from autosteer_core.layer_choice import choose_sites
from autosteer_core.operating_point import Bound, OperatingPoint, PointOptions, find_operating_point
from autosteer_core.values import Item, Site
from pipelines.demo.manifest import DemoItem, read_items
from pipelines.engines import load_backbone
from pipelines.loop.items import HELD_OUT, LABELLED, known, new_harm, write_loop_files
from pipelines.reading import open_items
from pipelines.settings import Settings
from pipelines.wiring import all_items

SPLITS = (LABELLED, HELD_OUT)
BOUND = Bound(0.1, 0.05, Bounds.FALSE_REFUSALS)


def words(item: DemoItem) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", item.text.lower()))


@pytest.mark.parametrize("part", SPLITS)
def test_every_harmful_item_of_the_new_kind_has_a_benign_twin_of_about_its_length(part: str) -> None:
    pairs = defaultdict(list)
    for item in new_harm(part):
        pairs[item.pair].append(item)
    assert len(pairs) >= 60
    for harmful, benign in pairs.values():
        assert (harmful.label, benign.label, harmful.source) == ("harmful", "benign", benign.source)
        assert harmful.text != benign.text and abs(len(words(harmful)) - len(words(benign))) <= 3


def test_the_halves_and_the_demos_own_items_share_no_text_and_the_halves_share_no_source() -> None:
    groups = [new_harm(LABELLED), new_harm(HELD_OUT), read_items("calibration"), read_items("run")]
    texts = [{words(item) for item in group} for group in groups]
    assert sum(map(len, texts[:2])) == len(texts[0] | texts[1]) == len(read_items("new_harm"))
    assert not (texts[0] | texts[1]) & (texts[2] | texts[3])
    assert not {item.source for item in groups[0]} & {item.source for item in groups[1]}


def test_the_manifests_of_the_loop_hold_each_half_where_it_belongs(tmp_path: Path) -> None:
    files = write_loop_files(tmp_path)
    ids = [
        set(pq.read_table(path).column("id").to_pylist()) for path in (files.calibration, files.first, files.second)
    ]
    halves = [{item.id for item in new_harm(part)} for part in SPLITS]
    assert ids[1] == halves[0] and halves[1] < ids[2]
    assert not ids[0] & (halves[0] | halves[1]) and not ids[1] & ids[2]


def test_no_two_items_of_the_calibration_show_the_same_so_that_its_holdout_can_be_locked() -> None:
    shown = [(item.text, str(item.picture)) for item in known("calibration")]
    assert len(set(shown)) == len(shown)
    assert len(shown) < len([item for item in read_items("calibration") if item.picture is None or item.pair])


@pytest.mark.loop
@pytest.mark.timeout(1800)
def test_a_first_probe_misses_the_new_kind_and_one_that_saw_its_other_half_does_not(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    files = write_loop_files(tmp_path)
    calibrated, taught, held, ordinary = _read(files.calibration, files.first, files.second)
    rows = split(calibrated, 0)
    sites = choose_sites(calibrated.take(np.concatenate([rows.train, rows.validation])), 0, 4).sites
    first = find_operating_point(calibrated, rows, sites, PointOptions(BOUND))
    both, more = _joined(calibrated, taught), split(taught, 0)
    all_rows = Split(
        *(
            np.concatenate([old, new + len(calibrated.harmful_N)])
            for old, new in zip(
                (rows.train, rows.validation, rows.threshold),
                (more.train, more.validation, more.threshold),
                strict=True,
            )
        )
    )
    second = find_operating_point(both, all_rows, sites, PointOptions(BOUND))

    before, after = (_opened(point, held, sites) for point in (first, second))
    benign = _joined(held, ordinary)
    calm = ~benign.harmful_N
    wrong = [float(_opened(point, benign, sites)[calm].mean()) for point in (first, second)]
    recall = [float(gates[held.harmful_N].mean()) for gates in (before, after)]

    report("harmful items of the new kind, not used in training", int(held.harmful_N.sum()))
    report("recall on them, before and after the labels", f"{recall[0]:.1%}, {recall[1]:.1%}")
    report(f"false refusals of {int(calm.sum())} benign items, before and after", f"{wrong[0]:.1%}, {wrong[1]:.1%}")
    assert recall[0] < 0.4 and recall[1] > 0.9
    # At most a point more is what `make loop` has to show, of the whole retraining; here it is told only.


def _read(calibration: Path, first: Path, second: Path) -> tuple[Labelled, ...]:
    """Calibration, the labelled half, the other half, and the demo's own items of the second manifest."""
    backbone = load_backbone(Settings())
    groups: list[list[Item]] = [all_items(open_items(str(path))) for path in (calibration, first, second)]
    new, others = (
        [item for item in groups[2] if (item.annotation.group == "new-harm") is wanted] for wanted in (True, False)
    )
    layers = list(range(1, len(backbone.blocks) + 1))
    parts = []
    for items, hold_out in zip((*groups[:2], new, others), (HoldOut.AUTO, *[HoldOut.PAIR] * 3), strict=True):
        read_NLPD = read_activations(backbone, [backbone.encode(item) for item in items], layers)
        parts.append(labelled(items, read_NLPD, hold_out))
    return tuple(parts)


def _joined(some: Labelled, others: Labelled) -> Labelled:
    activations = torch.cat([some.activations_NLPD, others.activations_NLPD])
    names = ("harmful_N", "group_N", "pair_N", "source_N", "modality_N", "unit_N")
    return Labelled(activations, *(np.concatenate([getattr(some, name), getattr(others, name)]) for name in names))


def _opened(point: OperatingPoint, data: Labelled, sites: list[Site]) -> np.ndarray:
    return np.asarray(point.probe.risk(data.side_by_side(sites)).numpy() >= point.guarantee.threshold)
