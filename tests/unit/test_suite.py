"""A suite file becomes one manifest: chosen, counted, held out, the same every time."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from autosteer_core.errors import UserMistake
from autosteer_core.values import Item, Label, Part, PartId
from infra.importers.row import ImportedRow
from infra.open_manifest import open_manifest
from infra.suite_manifest import SuiteFacts, suite_facts
from pipelines.cli import app
from pipelines.import_suite import SuiteReport, import_suite
from pipelines.suite import load_suite, shipped_suites
from pipelines.suite_rows import drawn
from tests.pictures import png

HEAD = 'name = "mine"\n'


def one_set(**keys: Any) -> str:
    """A `[[sets]]` table; keys given replace those of a set of lines."""
    usual = {"name": "a", "importer": "lines", "path": "a.txt", "kind": "benign", "modality": "text", "source": "s"}
    return "[[sets]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in (usual | keys).items())


def imported(folder: Path, suite: str, out: str = "out.parquet") -> SuiteReport:
    (folder / "suite.toml").write_text(suite, "utf-8")
    return import_suite(load_suite(str(folder / "suite.toml")), folder, folder / out)


def items(path: Path) -> list[Item]:
    manifest = open_manifest(str(path))
    ((name, rows, _),) = manifest.files()
    return list(manifest.items(Part(PartId("p"), name, 0, rows)))


def test_the_manifest_is_readable_as_any_other_and_its_facts_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello\n")
    record = {"imagename": "x.png", "question": "how many?", "answer": "4", "capability": ["ocr"]}
    (tmp_path / "mm-vet.json").write_text(json.dumps({"v1": record}))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(png())

    imported(
        tmp_path,
        HEAD
        + one_set(kind="harmful", source="web")
        + one_set(name="v", importer="mm-vet", path=".", kind="accuracy", modality="cross-modal"),
    )

    first, second = items(tmp_path / "out.parquet")
    assert (first.item_id, first.text, first.images) == ("a/0", "hello", ())
    assert (first.annotation.label, first.annotation.group, first.annotation.source) == (Label.HARMFUL, "a", "web")
    assert (second.item_id, second.images, second.flaw) == ("v/v1", (png(),), None)
    assert suite_facts(tmp_path / "out.parquet") == {
        "a/0": SuiteFacts("harmful", "text", (), None),
        "v/v1": SuiteFacts("accuracy", "cross-modal", (), "4"),
    }


def test_equal_rows_of_a_set_are_kept_once_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\ny\nx\n")
    (tmp_path / "b.txt").write_text("x\n")

    report = imported(tmp_path, HEAD + one_set() + one_set(name="b", path="b.txt"))

    assert [(one.read, one.rows, one.duplicates) for one in report.sets] == [(3, 2, 1), (1, 1, 0)]
    assert [item.item_id for item in items(tmp_path / "out.parquet")] == ["a/0", "a/1", "b/0"]


def test_one_prompt_beside_different_pictures_is_not_a_duplicate(tmp_path: Path) -> None:
    lines = [json.dumps({"image_pth": f"{number}.png", "query": "describe it"}) for number in (1, 2, 1)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(png())

    report = imported(tmp_path, HEAD + one_set(importer="tovilag", path="t.jsonl", kind="harmful", modality="image"))

    assert (report.sets[0].rows, report.sets[0].duplicates) == (2, 1)


def test_rows_that_the_other_suite_holds_are_dropped_even_where_it_does_not_draw_them(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("how do i bake a loaf of rye bread\nhow do i repair a flat bicycle tyre\n")
    (tmp_path / "a.txt").write_text(
        "How do I bake a loaf of rye bread?\nhow do i repair a flat bicycle tyre now\nwhat is a noun\n"
    )
    known = tmp_path / "known.toml"
    known.write_text('name = "known"\n' + one_set(name="k", path="known.txt", rows=1))

    report = imported(tmp_path, HEAD + f'held_out_from = "{known}"\n' + one_set())

    assert [item.text for item in items(tmp_path / "out.parquet")] == ["what is a noun"]
    assert (report.sets[0].leaked, report.sets[0].leaked_by) == (2, {"exact text": 1, "near text": 1})
    assert report.shared_sources == ("s",)
    assert {leak["calibration_id"] for leak in report.as_json()["leaks"]} == {"k/0", "k/1"}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"text {number}" for number in range(50)))
    suite = HEAD + one_set(rows=20)

    report = imported(tmp_path, suite, "one.parquet")
    imported(tmp_path, suite, "two.parquet")

    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert (report.rows, report.sets[0].not_drawn) == (20, 30)


def test_another_seed_draws_other_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"text {number}" for number in range(50)))

    imported(tmp_path, HEAD + one_set(rows=20), "one.parquet")
    imported(tmp_path, HEAD + "seed = 1\n" + one_set(rows=20), "two.parquet")

    assert pq.read_table(tmp_path / "one.parquet")["id"] != pq.read_table(tmp_path / "two.parquet")["id"]


@given(pairs=st.integers(1, 30), alone=st.integers(0, 30), limit=st.integers(1, 70))
def test_a_draw_keeps_twins_together_and_the_order_and_stays_within_its_limit(
    pairs: int, alone: int, limit: int
) -> None:
    twins = [ImportedRow(f"{pair}{side}", "t", pair=str(pair)) for pair in range(pairs) for side in "ab"]
    rows = (*twins, *(ImportedRow(f"alone {number}", "t") for number in range(alone)))

    chosen = drawn(rows, limit, "seed")

    assert len(chosen) <= limit
    assert len(chosen) >= min(limit, len(rows)) - 1
    assert sorted(chosen, key=rows.index) == list(chosen)
    for pair in {row.pair for row in chosen if row.pair}:
        assert sum(row.pair == pair for row in chosen) == 2


def test_a_row_is_drawn_or_not_whatever_other_rows_there_are() -> None:
    rows = tuple(ImportedRow(str(number), "t") for number in range(100))

    few, many = drawn(rows[:50], 25, "seed"), drawn(rows, 50, "seed")

    assert len({row.row_id for row in few} & {row.row_id for row in many}) >= 20


def test_a_twin_of_the_other_label_keeps_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(json.dumps({"image_id": "1.jpg", "orig_query": "bad", "safe_query": "good"}))

    report = imported(tmp_path, HEAD + one_set(importer="vlsafe-pairs", path="v.jsonl", kind="harmful"))

    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["label"], row["kind"], row["pair"]) for row in table] == [
        ("harmful", "harmful", "s/0"),
        ("benign", "benign", "s/0"),
    ]
    assert "text only" in report.sets[0].note


def test_where_keeps_the_rows_with_the_wanted_facts(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"Fraud": {"Tax": ["a"]}, "Harm": {"Self": ["b"]}}))

    imported(tmp_path, HEAD + one_set(importer="catqa", path="c.json") + 'where = { category = ["Harm"] }\n')

    assert [item.text for item in items(tmp_path / "out.parquet")] == ["b"]


@pytest.mark.parametrize(
    ("suite", "sentence"),
    [
        (HEAD + one_set(kind="bad"), "`sets.0.kind` is 'bad': expected one of harmful, benign, over-refusal"),
        (HEAD + one_set(colour="red"), "unknown key `sets.0.colour`: expected one of columns, images, importer"),
        (HEAD + "seeds = 1\n" + one_set(), "unknown key `seeds`: expected one of held_out_from, name, seed"),
        (HEAD, "`sets` is missing"),
        (HEAD + one_set(importer="cvs"), "there is no importer cvs: expected one of advbench"),
        (HEAD + one_set() + one_set(), "the set a is there more than once"),
        (HEAD + one_set(columns={}).replace("{}", '{ text = "q" }'), "only the importer `table` reads"),
        (HEAD + one_set(path="b.txt"), "b.txt cannot be read"),
        (HEAD + one_set(path="../a.txt"), "leads out of the data folder"),
        (HEAD + one_set(path="/etc/hostname"), "leads out of the data folder"),
        (HEAD + one_set(modality="image"), "set `images` to the folder of pictures"),
        (HEAD + one_set() + 'where = { type = ["x"] }\n', "cannot be chosen by type, only by nothing"),
        (HEAD + one_set(path="blank.txt"), "set a: no usable row of 0"),
        ("name = ", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_suite_that_cannot_be_imported_is_told_in_one_sentence(tmp_path: Path, suite: str, sentence: str) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    (tmp_path / "blank.txt").write_text("\n")

    with pytest.raises(UserMistake) as raised:
        imported(tmp_path, suite)

    assert sentence in str(raised.value)
    assert not (tmp_path / "out.parquet").exists()


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [{"image_id": f"{number}.jpg", "query": f"q{number}"} for number in range(3)]
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "0.jpg").write_bytes(png())

    with pytest.raises(UserMistake, match=r"2 of 3 pictures are missing, the first is .*coco/1\.jpg"):
        imported(tmp_path, HEAD + one_set(importer="vlsafe", path="v.jsonl", images="coco", kind="harmful"))


def test_a_published_file_cannot_name_a_picture_outside_the_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.png").write_bytes(png())
    (data / "v.jsonl").write_text(json.dumps({"image_id": "../secret.png", "query": "q"}))

    with pytest.raises(UserMistake, match="leads out of the data folder"):
        imported(data, HEAD + one_set(importer="vlsafe", path="v.jsonl", images=".", kind="harmful"))


def test_a_manifest_that_no_suite_made_has_no_facts(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="make it with `autosteer import`"):
        suite_facts(tmp_path / "none.parquet")


@pytest.mark.parametrize("name", shipped_suites())
def test_every_shipped_suite_loads(name: str) -> None:
    assert load_suite(name).name == name


def test_an_unknown_suite_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(UserMistake, match=r"no suite nope: expected a \.toml file or one of .*public-text"):
        load_suite("nope")


def test_the_calibration_suite_shares_only_the_source_that_its_comment_owns_up_to() -> None:
    sources = [{one.source for one in load_suite(name).sets} for name in ("public-text", "public-text-calibration")]

    assert set.intersection(*sources) == {"vlsafe"}


def test_import_and_suites_print_one_json_object(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    (tmp_path / "suite.toml").write_text(HEAD + one_set())
    command = ["import", str(tmp_path / "suite.toml"), "--data", str(tmp_path), "--out", str(tmp_path / "o.parquet")]

    done, listed = (CliRunner().invoke(app, [*words, "--json"]) for words in (command, ["suites"]))

    assert json.loads(done.stdout)["sets"][0]["rows"] == 1
    assert {"advbench", "vlsafe"} <= set(json.loads(listed.stdout)["importers"])
    assert "public-text" in json.loads(listed.stdout)["suites"]
