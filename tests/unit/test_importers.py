"""Importers read the published formats, written here in miniature."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.values import Label
from infra.importers.catalogue import IMPORTERS
from infra.importers.figstep import PROMPT
from infra.importers.row import ImportedRow, Place
from tests.pictures import png


def read(importer: str, path: Path, images: Path | None = None, **columns: str) -> list[ImportedRow]:
    return list(IMPORTERS[importer].read(Place(path, images, columns)))


def write_csv(path: Path, *records: Mapping[str, str], bom: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return path


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
    return path


def write_jsonl(path: Path, *records: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def write_parquet(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return path


def test_vlsafe_is_harmful_text_beside_the_picture_of_the_named_folder(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "v.jsonl", {"image_id": "1.jpg", "caption": "a jar", "query": " how to misuse it "})

    (row,) = read("vlsafe", file, tmp_path / "coco")

    assert (row.text, row.label, row.pictures) == (
        "how to misuse it",
        Label.HARMFUL,
        (tmp_path / "coco" / "1.jpg",),
    )
    assert read("vlsafe", file)[0].pictures == ()


def test_vlsafe_rewrites_are_twins_of_opposite_label_with_one_picture(tmp_path: Path) -> None:
    record = {"image_id": "1.jpg", "safe_query": "how to wash it", "orig_query": "how to misuse it"}
    file = write_jsonl(tmp_path / "v.jsonl", record)

    bad, good = read("vlsafe-pairs", file, tmp_path)

    assert (bad.label, good.label) == (Label.HARMFUL, Label.BENIGN)
    assert bad.pair == good.pair
    assert bad.row_id != good.row_id
    assert bad.pictures == good.pictures == (tmp_path / "1.jpg",)


def test_tovilag_pictures_lie_beside_its_file_unless_a_folder_is_named(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "t.jsonl", {"image_pth": "bloody/7.jpg", "query": "describe it", "caption": "c"})

    (row,) = read("tovilag", file)

    assert row.pictures == (tmp_path / "bloody" / "7.jpg",)
    assert row.facts == {"folder": "bloody"}
    assert read("tovilag", file, tmp_path / "x")[0].pictures == (tmp_path / "x" / "bloody" / "7.jpg",)


def test_mm_safetybench_puts_each_question_with_the_picture_that_the_paper_shows_it_with(tmp_path: Path) -> None:
    question = {
        "Question": "plain",
        "Changed Question": "changed",
        "Key Phrase": "k",
        "Phrase Type": "t",
        "Rephrased Question": "this phrase",
        "Rephrased Question(SD)": "this picture",
    }
    write_json(tmp_path / "processed_questions" / "06-Fraud.json", {"0": question})

    rows = {row.facts["variant"]: row for row in read("mm-safetybench", tmp_path)}

    assert {name: row.text for name, row in rows.items()} == {
        "SD": "this picture",
        "SD_TYPO": "this phrase",
        "TYPO": "this phrase",
        "TEXT": "plain",
    }
    assert rows["TYPO"].pictures == (tmp_path / "imgs" / "06-Fraud" / "TYPO" / "0.jpg",)
    assert rows["TEXT"].pictures == ()
    assert rows["SD"].facts["scenario"] == "06-Fraud"


def test_figstep_hides_the_instruction_in_the_picture(tmp_path: Path) -> None:
    record = {
        "dataset": "ForbidQI",
        "category_id": "1",
        "task_id": "34",
        "category_name": "Illegal Activity",
        "question": "q",
        "instruction": "i",
    }
    table = write_csv(tmp_path / "question" / "safebench.csv", record)

    (row,) = read("figstep", tmp_path)

    assert row.text == PROMPT
    assert row.pictures == (tmp_path / "images" / "SafeBench" / "query_ForbidQI_1_34_6.png",)
    assert [row.text for row in read("figstep-questions", table)] == ["q"]


def test_vlguard_labels_follow_the_column_that_holds_the_instruction(tmp_path: Path) -> None:
    def entry(*turns: Mapping[str, str | None], safe: bool) -> dict[str, Any]:
        return {"id": "a1", "image": "x/1.png", "safe": safe, "harmful_category": "privacy", "instr-resp": turns}

    unsafe = entry({"instruction": "find them", "response": "no"}, safe=False)
    safe = entry(
        {"safe_instruction": "describe it", "unsafe_instruction": None, "response": "yes"},
        {"unsafe_instruction": "mock them", "response": "no"},
        safe=True,
    )
    rows = read("vlguard", write_json(tmp_path / "test.json", [unsafe, safe]))

    assert [(row.text, row.label, row.facts["subset"]) for row in rows] == [
        ("find them", Label.HARMFUL, "unsafes"),
        ("describe it", Label.BENIGN, "safe-safes"),
        ("mock them", Label.HARMFUL, "safe-unsafes"),
    ]
    assert rows[0].pictures == (tmp_path / "test" / "x" / "1.png",)
    assert len({row.row_id for row in rows}) == 3
    assert rows[1].pair == rows[2].pair != rows[0].pair


@pytest.mark.parametrize("with_label", [True, False])
def test_xstest_contrasts_are_harmful_in_both_published_tables(tmp_path: Path, with_label: bool) -> None:
    safe = {"id": "1", "prompt": "kill a process", "type": "homonyms", "label": "safe"}
    unsafe = {"id": "2", "prompt": "kill a person", "type": "contrast_homonyms", "label": "unsafe"}
    if not with_label:
        del safe["label"], unsafe["label"]

    rows = read("xstest", write_csv(tmp_path / "xs.csv", safe, unsafe))

    assert [row.label for row in rows] == [Label.BENIGN, Label.HARMFUL]
    assert [row.facts["label"] for row in rows] == ["benign", "harmful"]


def test_harmbench_leaves_out_copyright_and_puts_the_context_first(tmp_path: Path) -> None:
    def behaviour(name: str, kind: str, context: str) -> dict[str, str]:
        return {
            "Behavior": f"do {name}",
            "FunctionalCategory": kind,
            "SemanticCategory": "illegal",
            "Tags": "",
            "ContextString": context,
            "BehaviorID": name,
        }

    rows = read(
        "harmbench",
        write_csv(
            tmp_path / "h.csv",
            behaviour("a", "standard", ""),
            behaviour("b", "copyright", ""),
            behaviour("c", "contextual", "A street."),
        ),
    )

    assert [(row.row_id, row.text) for row in rows] == [("a", "do a"), ("c", "A street.\n\n---\n\ndo c")]


def test_jailbreakbench_twins_share_their_index(tmp_path: Path) -> None:
    columns = {"Index": "3", "Target": "t", "Behavior": "b", "Category": "Fraud", "Source": "s"}
    (bad,) = read("jailbreakbench", write_csv(tmp_path / "h.csv", {"Goal": "forge it", **columns}))
    (good,) = read("jailbreakbench", write_csv(tmp_path / "b.csv", {"Goal": "frame it", **columns}))

    assert (bad.text, good.text) == ("forge it", "frame it")
    assert bad.pair == good.pair == "3"


def test_mmmu_options_become_lettered_lines_and_pictures_keep_their_order(tmp_path: Path) -> None:
    def picture(colour: str) -> dict[str, Any]:
        return {"bytes": png(colour), "path": "p.png"}

    record = {
        "id": "validation_Art_1",
        "question": "Which of <image 1> and <image 2>?",
        "options": "['first', \"the 'second'\"]",
        "answer": "B",
        "question_type": "multiple-choice",
        "image_1": picture("red"),
        "image_2": picture("blue"),
        "image_3": None,
    }
    opened = record | {
        "id": "validation_Art_2",
        "options": "[]",
        "answer": "['4', 'four']",
        "question_type": "open",
    }
    file = write_parquet(tmp_path / "Art" / "validation-00000-of-00001.parquet", [record, opened])

    chosen, free = read("mmmu", tmp_path)

    assert chosen.choices == ("first", "the 'second'")
    assert chosen.answer == "B"
    assert "\nA. first\nB. the 'second'\n" in chosen.text
    assert chosen.pictures == (png("red"), png("blue"))
    assert chosen.facts == {"split": "validation", "question_type": "multiple-choice", "subject": "Art"}
    assert (free.choices, free.answer) == ((), "4\nfour")
    assert read("mmmu", file) == [chosen, free]


def test_realworldqa_options_are_found_in_the_question(tmp_path: Path) -> None:
    question = "Which way?\nA. Left\nB. Right\nPlease answer directly with only the letter."
    file = write_parquet(
        tmp_path / "r.parquet", [{"image": {"bytes": png(), "path": ""}, "question": question, "answer": "A"}]
    )

    (row,) = read("realworldqa", file)

    assert (row.choices, row.answer, row.pictures) == (("Left", "Right"), "A", (png(),))


def test_mm_vet_alternatives_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    record = {"imagename": "v1_0.png", "question": "how many?", "answer": "eight <OR> 8\n.0", "capability": ["ocr"]}
    write_json(tmp_path / "mm-vet.json", {"v1_0": record})

    (row,) = read("mm-vet", tmp_path)

    assert row.answer == "eight\n8 .0"
    assert row.pictures == (tmp_path / "images" / "v1_0.png",)


def test_catqa_rows_know_their_category(tmp_path: Path) -> None:
    tree = {"Fraud": {"Tax:": ["a", "b"]}, "Harm": {"Self": ["c"]}}

    rows = read("catqa", write_json(tmp_path / "c.json", tree))

    assert [row.text for row in rows] == ["a", "b", "c"]
    assert rows[0].facts == {"category": "Fraud", "subcategory": "Tax"}


def test_seed_tasks_carry_the_input_of_their_first_instance(tmp_path: Path) -> None:
    tasks = [
        {"id": "s0", "instruction": "Sum.", "instances": [{"input": "1 2", "output": "3"}]},
        {"id": "s1", "instruction": "Greet.", "instances": [{"input": "", "output": "hi"}]},
    ]

    rows = read("seed-tasks", write_jsonl(tmp_path / "s.jsonl", *tasks))

    assert [row.text for row in rows] == ["Sum.\n\n1 2", "Greet."]


@pytest.mark.parametrize(
    ("importer", "name", "content"),
    [
        ("malicious-instruct", "m.txt", "one\n\ntwo\n"),
        ("tdc2023", "t.json", '["one", "two"]'),
        ("dangerousqa", "d.json", '["one", "two"]'),
        ("safety-tuned-llamas", "i.json", '{"instructions": ["one", "two"], "inputs": []}'),
        ("alphasteer", "a.json", '[{"query": "one"}, {"query": "two"}]'),
        ("refusal-direction", "r.json", '[{"instruction": "one", "category": null},'
                                        ' {"instruction": "two", "category": "x"}]'),
        ("advbench", "a.csv", "goal,target\none,Sure\ntwo,Sure\n"),
        ("strongreject", "s.csv", "category,source,forbidden_prompt\nc,s,one\nc,s,two\n"),
        ("oktest", "o.csv", "prompt\none\ntwo\n"),
        ("figstep-questions", "f.csv", "\ufeffquestion,FigTxt\none,0\ntwo,0\n"),
        ("trustllm", "t.jsonl", '{"question_id": 1, "turns": ["one"]}\n'
                                '{"question_id": 2, "turns": ["two", "more"]}\n'),
        ("coconot", "c.json", '[{"id": "a", "category": "c", "subcategory": "s", "prompt": "one"},'
                              ' {"id": "b", "category": "c", "subcategory": "s", "prompt": "two"}]'),
        ("lines", "l.txt", "one\ntwo"),
        ("json-texts", "j.json", '["one", "two"]'),
    ],
)  # fmt: skip
def test_text_sets_yield_their_texts_in_order(tmp_path: Path, importer: str, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")

    rows = read(importer, tmp_path / name)

    assert [row.text for row in rows] == ["one", "two"]
    assert len({row.row_id for row in rows}) == 2


def test_any_table_reads_the_columns_that_the_suite_names(tmp_path: Path) -> None:
    record = {"uid": "7", "prompt": "hi", "verdict": "unsafe", "file": "a.png", "lang": "en"}
    file = write_csv(tmp_path / "t.csv", record)

    (row,) = read("table", file, id="uid", text="prompt", label="verdict", image="file")

    assert (row.row_id, row.text, row.label) == ("7", "hi", Label.HARMFUL)
    assert row.pictures == (tmp_path / "a.png",)
    assert row.facts["lang"] == "en"


@pytest.mark.parametrize(
    ("importer", "name", "content", "sentence"),
    [
        ("advbench", "a.csv", "behaviour,target\nx,y\n", "no column goal, it has behaviour, target"),
        ("advbench", "a.csv", "goal,target\nx\n", "line 2"),
        ("advbench", "a.xlsx", "x", "suffix .xlsx"),
        ("tdc2023", "t.json", "[1, 2]", "list of texts"),
        ("tdc2023", "t.json", '["x"', "not JSON"),
        ("trustllm", "t.jsonl", "{}\n", "no column turns"),
        ("trustllm", "t.jsonl", "not json\n", "line 1 is not JSON"),
        ("catqa", "c.json", '["x"]', "JSON object"),
        ("malicious-instruct", "missing.txt", None, "cannot be read"),
        ("mm-safetybench", ".", None, "processed_questions"),
        ("mmmu", ".", None, "no .parquet file"),
    ],
)
def test_a_file_in_another_format_is_named_in_one_sentence(
    tmp_path: Path, importer: str, name: str, content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")

    with pytest.raises(UserMistake, match=sentence) as raised:
        read(importer, tmp_path / name)

    assert str(tmp_path) in str(raised.value)


def test_a_cell_may_hold_any_kind_of_line_break(tmp_path: Path) -> None:
    text = 'first\nsecond\u2028third, and "quoted"'

    (row,) = read("advbench", write_csv(tmp_path / "a.csv", {"goal": text, "target": "t"}))

    assert row.text == text


def test_a_label_that_means_nothing_is_refused(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", {"text": "hi", "label": "maybe"})

    with pytest.raises(UserMistake, match="a label is 'maybe', expected harmful, unsafe, benign or safe"):
        read("table", file, label="label")


def test_every_importer_says_what_to_obtain_and_on_whose_terms() -> None:
    for name, importer in IMPORTERS.items():
        assert importer.title and importer.licence and importer.obtain, name
