"""Entries follow each other, several writers never share one, and heads are noted outside."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autosteer_core.audit_log import LOG, Deed, Head, append, append_once, breaks, entries, head
from autosteer_core.errors import UserMistake
from infra.folder_store import FolderStore
from infra.memory_store import MemoryStore
from pipelines.audit_heads import log_deed, noted_head

AT = "2026-01-01T00:00:00.000+00:00"


def test_entries_come_back_in_order_and_the_log_is_sound() -> None:
    store = MemoryStore()
    heads = [append(store, Deed.RUN_STARTED, {"run_id": f"r{number}"}, AT) for number in range(3)]

    assert [entry.subject["run_id"] for entry in entries(store)] == ["r0", "r1", "r2"]
    assert list(breaks(store, heads[-1])) == []
    assert head(store) == heads[-1]
    assert [each.number for each in heads] == [1, 2, 3]


def test_writers_that_come_together_get_an_entry_each(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda n: append(store, Deed.ROWS_REOPENED, {"rows": n}, AT), range(40)))

    assert sorted(entry.subject["rows"] for entry in entries(store)) == list(range(40))
    assert list(breaks(store)) == []


def test_what_is_said_twice_after_a_crash_is_written_once() -> None:
    store = MemoryStore()

    heads = {str(append_once(store, Deed.RUN_FINISHED, {"run_id": "r"}, AT)) for _ in range(2)}
    other = append_once(store, Deed.RUN_FINISHED, {"run_id": "s"}, AT)

    assert len(heads) == 1 and other.number == 2


def test_an_empty_log_is_sound_unless_a_head_was_noted() -> None:
    assert list(breaks(MemoryStore())) == []
    [(where, what)] = breaks(MemoryStore(), Head(1, "0" * 64))
    assert where == f"{LOG}000000001.json" and "removed, the log ends at 0" in what


def test_a_head_survives_as_text_and_any_other_text_is_refused() -> None:
    noted = Head(12, "ab" * 32)
    assert Head.parsed(str(noted)) == noted
    for text in ("", "12", "12:xyz", "-1:" + "ab" * 32, "12:" + "AB" * 32):
        with pytest.raises(UserMistake, match="expected NUMBER:SHA256"):
            Head.parsed(text)


def test_the_latest_head_of_an_output_is_noted_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    log_deed(FolderStore(tmp_path / "other"), Deed.RUN_STARTED, {"run_id": "o"})
    last = [log_deed(FolderStore(tmp_path / "out"), Deed.RUN_STARTED, {"run_id": "r"}) for _ in range(2)][-1]

    assert noted_head("out") == noted_head(str(tmp_path / "out")) == last
    assert noted_head("elsewhere") is None
    assert (tmp_path / "state/autosteer/audit_heads.jsonl").stat().st_mode & 0o777 == 0o600
