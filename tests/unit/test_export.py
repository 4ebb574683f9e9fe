"""Exports: OpenAI-batch files and JSON lines of a finished run."""

import csv
import json
import math
import resource
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autosteer_core.commit import commit_part, seal
from autosteer_core.errors import UserMistake
from autosteer_core.records import NotConserved
from autosteer_core.row_ids import RowIds
from autosteer_core.run import Run, take_over
from autosteer_core.values import Action, Flaw, Lease, Reading, Verdict
from infra.folder_store import FolderStore
from infra.spreadsheet_csv import csv_row
from infra.verdict_files import verdicts_to_parquet
from pipelines.cli import main
from pipelines.export import export

VERDICTS = [
    Verdict("a", 0, Action.ANSWER, 0.1, answer="naïve\u2028日本語", finish_reason="length", threshold=0.5),
    Verdict("b", 1, Action.REFUSE, 0.9, answer="I cannot help.", finish_reason="stop", gate_open=True),
    Verdict("c", 2, Action.ERROR, math.nan, flaw=Flaw("E_IMAGE_NOT_FOUND", "line 3: no such file")),
    Verdict("d", 3, Action.REVIEW, math.nan, flaw=Flaw("E_RISK_NAN", "the risk is not a number")),
    Verdict("e", 4, Action.REVIEW, 0.5),
    Verdict("f", 5, Action.ANSWER, 0.2, answer="yes", finish_reason="stop", beside={"next": Reading(0.3, False)}),
]


def finished(out: Path, kind: str = "generate", *, sealed: bool = True) -> str:
    """A run of three parts of two rows, as workers leave it."""
    store = FolderStore(out)
    run = Run(kind, "m", [("m.jsonl", len(VERDICTS), "aa")], "bundle", {})
    take_over(store, run)
    parts = run.parts(2)
    for part in parts:
        rows = VERDICTS[part.start : part.stop]
        versions = {
            "run_id": run.run_id,
            "bundle_id": "bundle",
            "model_fingerprint": "model",
            "part_id": part.part_id,
        }
        assert commit_part(store, Lease(part, 1, "w", 0.0), rows, verdicts_to_parquet(rows, versions))
    if sealed:
        seal(store, parts, RowIds.of("m.jsonl", ((row.row, row.item_id) for row in VERDICTS)))
    return str(out)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def test_every_row_is_in_one_of_the_two_files_in_order(tmp_path: Path) -> None:
    made = export(finished(tmp_path / "out"), "openai-batch", tmp_path / "to")
    assert made.lines == {"output.jsonl": 3, "errors.jsonl": 3}
    assert [line["custom_id"] for line in lines(tmp_path / "to" / "output.jsonl")] == ["a", "b", "f"]
    assert [line["custom_id"] for line in lines(tmp_path / "to" / "errors.jsonl")] == ["c", "d", "e"]


def test_an_answer_is_a_chat_completion(tmp_path: Path) -> None:
    export(finished(tmp_path / "out"), "openai-batch", tmp_path / "to")
    line = lines(tmp_path / "to" / "output.jsonl")[0]
    assert (line["error"], line["response"]["status_code"]) == (None, 200)
    assert line["id"].startswith("batch_req_") and line["response"]["request_id"].startswith("req_")
    body = line["response"]["body"]
    assert (body["object"], body["model"], body["id"][:9]) == ("chat.completion", "model", "chatcmpl-")
    message = {"role": "assistant", "content": VERDICTS[0].answer, "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}]
    assert (body["autosteer"]["action"], body["autosteer"]["risk"]) == ("answer", 0.1)
    assert body["autosteer"]["bundle_id"] == "bundle"


def test_a_refusal_cannot_be_taken_for_an_answer(tmp_path: Path) -> None:
    export(finished(tmp_path / "out"), "openai-batch", tmp_path / "to")
    (choice,) = lines(tmp_path / "to" / "output.jsonl")[1]["response"]["body"]["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "I cannot help."}


def test_errors_and_reviews_have_a_code_and_no_response(tmp_path: Path) -> None:
    export(finished(tmp_path / "out"), "openai-batch", tmp_path / "to")
    found = lines(tmp_path / "to" / "errors.jsonl")
    assert [line["response"] for line in found] == [None] * 3
    assert [line["error"]["code"] for line in found] == ["E_IMAGE_NOT_FOUND", "E_RISK_NAN", "E_REVIEW"]
    assert found[0]["error"]["message"] == "line 3: no such file"
    assert "person" in found[2]["error"]["message"]


def test_two_exports_of_a_run_are_the_same_bytes(tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    for to in ("one", "two"):
        export(out, "openai-batch", tmp_path / to)
    for name in ("output.jsonl", "errors.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_json_lines_hold_every_column_of_every_row(tmp_path: Path) -> None:
    made = export(finished(tmp_path / "out", "audit"), "jsonl", tmp_path / "to")
    found = lines(tmp_path / "to" / "verdicts.jsonl")
    assert made.lines == {"verdicts.jsonl": 6}
    assert [(row["item_id"], row["action"], row["answer"]) for row in found] == [
        (verdict.item_id, verdict.action.value, verdict.answer) for verdict in VERDICTS
    ]
    assert [row["risk"] for row in found] == [0.1, 0.9, None, None, 0.5, 0.2]
    assert found[5]["beside"] == {"next": {"risk": 0.3, "gate_open": False}}
    assert {row["model_fingerprint"] for row in found} == {"model"}


def cells(path: Path) -> list[list[str]]:
    """The file as another program reads it."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_csv_holds_every_column_of_every_row(tmp_path: Path) -> None:
    made = export(finished(tmp_path / "out", "audit"), "csv", tmp_path / "to")
    header, *found = cells(tmp_path / "to" / "verdicts.csv")
    rows = [dict(zip(header, row, strict=True)) for row in found]
    assert made.lines == {"verdicts.csv": 6}
    assert [row["item_id"] for row in rows] == [verdict.item_id for verdict in VERDICTS]
    assert [row["risk"] for row in rows] == ["0.1", "0.9", "", "", "0.5", "0.2"]
    assert (rows[0]["answer"], rows[1]["gate_open"]) == (VERDICTS[0].answer, "true")
    assert json.loads(rows[5]["beside"]) == {"next": {"risk": 0.3, "gate_open": False}}


@given(st.text())
@example('=HYPERLINK("http://x","y")').via("corpus")
@example("+1").via("corpus")
@example("-1").via("corpus")
@example("@SUM(A1)").via("corpus")
@example("\t=1").via("corpus")
@example("\uff1d1").via("corpus")
@example("'=1").via("corpus")
@example('"\r\n",=1').via("corpus")
def test_no_text_is_a_formula_and_every_text_comes_back(text: str) -> None:
    [[cell, _]] = csv.reader(StringIO(csv_row({"a": text, "b": "x"}, ["a", "b"]), newline=""))
    assert not cell or cell[0] not in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
    assert (cell[1:] if cell.startswith("'") else cell) == text


@pytest.mark.parametrize("damage", ["was changed after its commit", "is gone from"])
def test_a_damaged_part_replaces_nothing(tmp_path: Path, damage: str) -> None:
    out, to = finished(tmp_path / "out"), tmp_path / "to"
    export(out, "jsonl", to)
    before = (to / "verdicts.jsonl").read_bytes()
    last = sorted((tmp_path / "out" / "parts").iterdir())[-1]
    if "gone" in damage:
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-1] + b"\0")
    with pytest.raises(NotConserved, match=damage):
        export(out, "jsonl", to)
    assert [path.name for path in to.iterdir()] == ["verdicts.jsonl"]
    assert (to / "verdicts.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "sealed", "form", "message"),
    [
        ("generate", False, "jsonl", "is not finished: repeat its command"),
        ("audit", True, "openai-batch", "holds an audit, which has no answers: export it with --format jsonl"),
        ("generate", True, "xml", "there is no form xml: choose openai-batch, jsonl, csv"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, kind: str, sealed: bool, form: str, message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        export(finished(tmp_path / "out", kind, sealed=sealed), form, tmp_path / "to")
    assert not list(tmp_path.glob("to/*"))


def test_an_address_in_a_bucket_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserMistake, match="into a folder of this machine"):
        export(finished(tmp_path / "out"), "jsonl", Path("s3://bucket/exports"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_leaves_the_older_files(tmp_path: Path) -> None:
    out, to = finished(tmp_path / "out"), tmp_path / "to"
    export(out, "openai-batch", to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserMistake, match=r"cannot write into .*to \(File too large\)"):
            export(out, "openai-batch", to)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(UserMistake, match="cannot write into .*to"):
        export(finished(tmp_path / "out"), "jsonl", tmp_path / "to")


def test_the_command_says_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["autosteer", "export", out, "--to", str(tmp_path / "to"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["lines"] == {"output.jsonl": 3, "errors.jsonl": 3}
