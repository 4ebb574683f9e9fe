"""Rows that are done again, and parts that are given up, over a run in a folder."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from autosteer_core.commit import SEALED, SUCCESS, read_part, seal
from autosteer_core.engine import in_chunks
from autosteer_core.errors import TryAgain, UserMistake
from autosteer_core.ports import PartQueue
from autosteer_core.records import RedoRecord, read_records, redo
from autosteer_core.run import Run, take_over
from autosteer_core.values import Action, Flaw, Item, Lease, Verdict
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.verdict_files import verdicts_from_parquet, verdicts_to_parquet
from pipelines.bury import bury
from pipelines.queue_files import open_queue
from pipelines.retry import retry
from pipelines.status import run_status
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience

ROWS = 10


@dataclass
class Kept:
    """A run over ten items in parts of four, whose command can be repeated with another judge."""

    root: Path

    def __post_init__(self) -> None:
        lines = [json.dumps({"id": f"item-{row}", "text": f"question {row}"}) for row in range(ROWS)]
        (self.root / "items.jsonl").write_text("\n".join(lines))
        self.out, self.store = str(self.root / "out"), FolderStore(self.root / "out")
        self.manifest = open_manifest(str(self.root / "items.jsonl"))
        settings = {"columns": asdict(ColumnMap())}
        self.run = Run("generate", str(self.root / "items.jsonl"), self.manifest.files(), "bundle", settings)

    def repeat(self, answer: str, failing: dict[int, str], broken: Sequence[int] = ()) -> list[Verdict] | None:
        """As the command does it: rows in `failing` become errors, a part with a `broken` row fails."""
        take_over(self.store, self.run)
        known = read_records(self.store)
        parts = list(known.leaves(self.run.parts(4)))
        queue = open_queue(self.out, self.run.run_id, max_failures=2)
        queue.add(parts)
        queue.mark_done(sorted(known.commits))

        def judge(items: Sequence[Item]) -> list[Verdict]:
            if any(item.row in broken for item in items):
                raise TryAgain("the decoder is confused")
            return [_verdict(item, answer, failing.get(item.row)) for item in items]

        self._work(queue, judge)
        left = queue.counts()
        queue.close()
        if left.buried:
            return None
        records = seal(self.store, self.run.parts(4), self.manifest.row_ids())
        return [row for record in records for row in verdicts_from_parquet(read_part(self.store, record))]

    def _work(self, queue: PartQueue, judge: Callable[[Sequence[Item]], list[Verdict]]) -> None:
        lifeline = Lifeline(queue, 30.0)

        def encode(rows: Sequence[Verdict], lease: Lease) -> bytes:
            return verdicts_to_parquet(rows, {"run_id": self.run.run_id, "part_id": str(lease.part.part_id)})

        PartWorker(
            "w", queue, self.store, self.manifest, in_chunks(judge, 3), encode, lifeline, Patience(lifeline.pulse), 2
        ).run(lambda: False)


def _verdict(item: Item, answer: str, code: str | None) -> Verdict:
    if code:
        return Verdict(item.item_id, item.row, Action.ERROR, math.nan, flaw=Flaw(code, "broken"))
    return Verdict(item.item_id, item.row, Action.ANSWER, 0.1, answer)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def answers(rows: list[Verdict] | None) -> list[str | None]:
    assert rows is not None
    assert [row.item_id for row in rows] == [f"item-{row}" for row in range(ROWS)]
    return [row.answer or (row.flaw and row.flaw.code) for row in rows]


def test_only_the_rows_that_may_pass_are_done_again_and_all_others_stay(kept: Kept) -> None:
    first = kept.repeat("first", {1: "E_OUT_OF_MEMORY", 2: "E_IMAGE_CORRUPT", 9: "E_POISONED"})
    assert answers(first).count("first") == 7

    found = retry(kept.out, "transient")

    assert (found.rows, found.parts) == (2, 0)
    second = answers(kept.repeat("second", {}))
    assert [row for row, answer in enumerate(second) if answer == "second"] == [1, 9]
    assert second[2] == "E_IMAGE_CORRUPT"
    assert retry(kept.out, "transient").rows == 0


def test_readers_see_the_old_rows_until_the_new_ones_are_all_there(kept: Kept) -> None:
    kept.repeat("first", {4: "E_OUT_OF_MEMORY"})
    before = kept.store.get(SEALED)

    retry(kept.out, "all")

    assert kept.store.get(SEALED) == before
    assert SUCCESS not in kept.store.keys()
    assert run_status(kept.out)["state"] == "unfinished"
    assert run_status(kept.out)["rows_done"] == ROWS - 1
    kept.repeat("second", {})
    assert SUCCESS in kept.store.keys()
    assert kept.store.get(SEALED) != before


def test_a_row_may_be_done_again_and_again(kept: Kept) -> None:
    kept.repeat("first", {row: "E_OUT_OF_MEMORY" for row in range(8)})
    for attempt in range(3):
        assert retry(kept.out, "E_OUT_OF_MEMORY").rows == 8 - 2 * attempt
        rows = answers(kept.repeat(f"attempt {attempt}", {row: "E_OUT_OF_MEMORY" for row in range(6 - 2 * attempt)}))
        assert rows.count(f"attempt {attempt}") == 2


def test_a_retry_that_was_killed_in_the_middle_loses_nothing(kept: Kept) -> None:
    kept.repeat("first", {1: "E_OUT_OF_MEMORY"})
    record = read_records(kept.store).commits[kept.run.parts(4)[0].part_id]
    redo(
        kept.store, RedoRecord(record.part_id, [[0, 1], [1, 2], [2, 4]], "retry")
    )  # killed before the rows were kept

    assert answers(kept.repeat("second", {})) == ["second"] * 4 + ["first"] * 6


def test_parts_that_were_set_aside_are_opened_again(kept: Kept) -> None:
    assert kept.repeat("first", {}, broken=[5]) is None
    assert list(run_status(kept.out)["set_aside"].values()) == ["the decoder is confused"]

    assert retry(kept.out, "transient").parts == 1

    assert answers(kept.repeat("second", {})) == ["first"] * 4 + ["second"] * 4 + ["first"] * 2


def test_parts_that_are_given_up_are_error_rows_and_the_run_ends(kept: Kept) -> None:
    kept.repeat("first", {}, broken=[5])
    [part_id] = run_status(kept.out)["set_aside"]
    with pytest.raises(UserMistake, match=f"part p-9 is not set aside; those that are: {part_id}"):
        bury(kept.out, ["p-9"])

    assert bury(kept.out, [part_id]).rows == 4

    assert answers(kept.repeat("never", {})) == ["first"] * 4 + ["E_SET_ASIDE"] * 4 + ["first"] * 2
    assert retry(kept.out, "E_SET_ASIDE").rows == 4


@pytest.mark.parametrize("errors", ["sometimes", "E_OUT_OF_MEMORY,memory", ""])
def test_a_code_that_is_none_is_refused(kept: Kept, errors: str) -> None:
    kept.repeat("first", {})
    with pytest.raises(UserMistake, match="is no error code"):
        retry(kept.out, errors)
