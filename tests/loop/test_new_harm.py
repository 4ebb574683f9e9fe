"""The items of a kind of harm that the demo's calibration never shows: twins, and halves that share nothing."""

import re
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.demo.manifest import DemoItem, read_items
from pipelines.loop.items import HELD_OUT, LABELLED, known, new_harm, write_loop_files

SPLITS = (LABELLED, HELD_OUT)


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
