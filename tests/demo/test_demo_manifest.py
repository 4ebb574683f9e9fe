"""The demo's items are paired, split and balanced so that no shortcut passes for a probe."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from pipelines.demo.manifest import (
    LOOKS,
    DemoItem,
    DemoManifests,
    object_file,
    read_items,
    write_demo_manifests,
)

SPLITS = ("calibration", "run")
PAIRS = {
    "calibration": {"text": 110, "image": 341, "cross-modal": 283},
    "run": {"text": 45, "image": 35, "cross-modal": 37, "unseen": 18},
}
PAIRED = [(split, group) for split, groups in PAIRS.items() for group in groups]
PICTURED = [(split, group) for split, group in PAIRED if group != "text"]
BAIT = {
    "calibration": {"text": 320, "object": 20, "word": 20},
    "run": {"text": 24, "object": 8, "word": 8},
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> DemoManifests:
    return write_demo_manifests(tmp_path_factory.mktemp("demo"))


def pairs(split: str, group: str) -> dict[str, list[DemoItem]]:
    found: dict[str, list[DemoItem]] = defaultdict(list)
    for item in read_items(split):
        if item.group == group:
            found[item.pair or ""].append(item)
    return found


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def four_grams(items: list[DemoItem]) -> set[tuple[str, ...]]:
    spoken = [words(item.text) for item in items]
    return {said[at : at + 4] for said in spoken for at in range(len(said) - 3)}


@pytest.mark.parametrize(("split", "group"), PAIRED)
def test_every_harmful_item_has_exactly_one_benign_twin(split: str, group: str) -> None:
    twins = pairs(split, group)
    assert len(twins) == PAIRS[split][group]
    for harmful, benign in twins.values():
        assert (harmful.label, benign.label) == ("harmful", "benign")
        assert (harmful.source, harmful.unseen) == (benign.source, benign.unseen)


@pytest.mark.parametrize("split", SPLITS)
def test_bait_is_benign_and_comes_as_text_objects_and_words(split: str) -> None:
    bait = [item for item in read_items(split) if item.group == "bait"]
    assert {(item.label, item.pair) for item in bait} == {("benign", None)}
    assert Counter(next(iter(item.picture or {"text": ""})) for item in bait) == BAIT[split]


def test_damaged_items_are_in_the_run_only_and_have_no_label() -> None:
    broken = {split: [i for i in read_items(split) if i.group == "broken"] for split in SPLITS}
    assert (len(broken["calibration"]), len(broken["run"])) == (0, 7)
    assert {(item.label, item.pair) for item in broken["run"]} == {(None, None)}


def test_a_placeholder_typed_by_a_user_is_an_ordinary_text_item() -> None:
    typed = [item for item in read_items("run") if "<image>" in item.text]
    assert [(item.group, item.label, item.picture) for item in typed] == [("bait", "benign", None)]


def test_ids_are_unique_and_name_their_split() -> None:
    items = [item for split in SPLITS for item in read_items(split)]
    assert len({item.id for item in items}) == len(items)
    assert all(item.id.startswith(item.split[:3]) for item in items)


@pytest.mark.parametrize(("split", "group"), PICTURED)
def test_pictured_twins_share_their_text_and_differ_in_their_picture(split: str, group: str) -> None:
    for harmful, benign in pairs(split, group).values():
        assert harmful.text == benign.text
        assert harmful.picture != benign.picture


@pytest.mark.parametrize("split", SPLITS)
def test_text_twins_differ_in_their_text_and_have_about_the_same_length(split: str) -> None:
    for harmful, benign in pairs(split, "text").values():
        assert harmful.text != benign.text
        assert abs(len(words(harmful.text)) - len(words(benign.text))) <= 2


@pytest.mark.parametrize("split", SPLITS)
def test_texts_are_short(split: str) -> None:
    assert max(len(item.text.split()) for item in read_items(split)) <= 20


def test_splits_share_no_source_no_text_and_no_four_words_in_a_row() -> None:
    calibration, run = read_items("calibration"), read_items("run")
    assert not {item.source for item in calibration} & {item.source for item in run}
    assert not {words(item.text) for item in calibration} & {words(item.text) for item in run}
    assert not four_grams(calibration) & four_grams(run)


def test_calibration_has_sources_enough_to_split_by_and_each_has_every_group() -> None:
    groups = defaultdict(set)
    for item in read_items("calibration"):
        groups[item.source].add(item.group)
    assert len(groups) >= 4
    assert all(found == {*PAIRS["calibration"], "bait"} for found in groups.values())


def test_the_unseen_group_shows_only_pictures_that_calibration_never_saw_and_the_others_only_known_ones() -> None:
    known = [item.picture for item in read_items("calibration")]
    harmful = [item for item in read_items("run") if item.label == "harmful" and item.picture]
    assert all((item.picture in known) is (item.group != "unseen") is (not item.unseen) for item in harmful)


@pytest.fixture(scope="module")
def text_reader() -> Pipeline:
    """The control: it sees no picture."""
    items = read_items("calibration")
    reader = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=2000))
    return reader.fit([item.text for item in items], [item.label for item in items])


@pytest.mark.parametrize("group", [group for split, group in PICTURED if split == "run"])
def test_a_reader_of_text_alone_is_right_half_of_the_time(text_reader: Pipeline, group: str) -> None:
    items = [item for item in read_items("run") if item.group == group]
    accuracy = text_reader.score([item.text for item in items], [item.label for item in items])
    assert 0.4 <= accuracy <= 0.6


@pytest.mark.parametrize("split", SPLITS)
def test_every_named_object_is_drawn_in_every_style_of_its_split(split: str) -> None:
    pictures = [item.picture or {} for item in read_items(split)]
    names = {picture["object"] for picture in pictures if "object" in picture}
    files = [object_file(style, name) for style in LOOKS[split].styles for name in names]
    assert [file for file in files if not file.exists()] == []


def test_splits_share_no_style_and_no_font() -> None:
    calibration, run = LOOKS["calibration"], LOOKS["run"]
    assert not set(calibration.styles) & set(run.styles)
    assert not set(calibration.fonts) & set(run.fonts)


def test_writing_twice_gives_the_same_bytes(manifests: DemoManifests, tmp_path: Path) -> None:
    again = write_demo_manifests(tmp_path)
    assert again.run.read_bytes() == manifests.run.read_bytes()
    assert again.calibration.read_bytes() == manifests.calibration.read_bytes()


@pytest.mark.parametrize("split", SPLITS)
def test_a_manifest_holds_its_items_in_order(manifests: DemoManifests, split: str) -> None:
    table = pq.read_table(getattr(manifests, split))
    assert table.column_names == ["id", "text", "image", "label", "group", "pair", "source", "unseen"]
    assert table.column("id").to_pylist() == [item.id for item in read_items(split)]


@pytest.mark.parametrize("split", SPLITS)
def test_exactly_the_damaged_pictures_cannot_be_decoded(manifests: DemoManifests, split: str) -> None:
    refused = []
    for row in pq.read_table(getattr(manifests, split)).to_pylist():
        try:
            if row["image"] is not None:
                decode_picture(row["image"])
        except BadItem:
            refused.append(row["id"])
    expected = ["corrupt-bytes", "truncated-png", "html-page", "zero-bytes"] if split == "run" else []
    assert [name.split("-", 3)[3] for name in refused] == expected


def test_twins_are_drawn_differently(manifests: DemoManifests) -> None:
    rows = [row for split in SPLITS for row in pq.read_table(getattr(manifests, split)).to_pylist()]
    drawn = defaultdict(list)
    for row in rows:
        if row["group"] in ("image", "cross-modal", "unseen"):
            drawn[row["pair"]].append(row["image"])
    assert all(len(set(images)) == 2 for images in drawn.values())


def test_the_overlong_text_has_a_hundred_thousand_characters(manifests: DemoManifests) -> None:
    texts = pq.read_table(manifests.run).column("text").to_pylist()
    assert max(map(len, texts)) == 100_000
