"""What `verify` finds, over an output in a folder: nothing where all is well, and each kind of damage."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.commit import SEALED, SUCCESS, commit_part, seal
from autosteer_core.errors import UserMistake
from autosteer_core.row_ids import RowIds
from autosteer_core.run import Run, take_over
from autosteer_core.values import Action, Activation, Flaw, Lease, Part, Verdict
from infra.activation_files import activations_to_parquet
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.verdict_files import verdicts_to_parquet
from pipelines.verify import Verified, verify

ROWS = 12


def verdict(row: int) -> Verdict:
    if row == 5:
        return Verdict(f"item-{row}", row, Action.ERROR, math.nan, flaw=Flaw("E_IMAGE_CORRUPT", "it is cut off"))
    risky = row % 3 == 0
    return Verdict(
        f"item-{row}", row, Action.REFUSE if risky else Action.ANSWER, 0.9 if risky else 0.1, "text", threshold=0.5,
        gate_open=risky, gate_evaluations=1, steered_tokens=3 * risky,
    )  # fmt: skip


@dataclass
class Output:
    """A finished run in three parts."""

    root: Path

    def __post_init__(self) -> None:
        lines = [json.dumps({"id": f"item-{row}", "text": f"question {row}"}) for row in range(ROWS)]
        (self.root / "items.jsonl").write_text("\n".join(lines))
        self.manifest, self.store = str(self.root / "items.jsonl"), FolderStore(self.root / "out")
        files = open_manifest(self.manifest).files()
        self.run = Run("generate", self.manifest, files, "bundle", {"columns": asdict(ColumnMap())})
        self.parts = list(self.run.parts(4))
        take_over(self.store, self.run)
        for part in self.parts:
            self.commit(part, [verdict(row) for row in range(part.start, part.stop)])
        self.seal()

    def commit(self, part: Part, verdicts: list[Verdict], activations: bytes | None = None, **versions: str) -> None:
        made = {"run_id": self.run.run_id, "bundle_id": "bundle", "model_fingerprint": "m", "part_id": part.part_id}
        data = verdicts_to_parquet(verdicts, made | versions)
        commit_part(self.store, Lease(part, 1, "w", 0.0), verdicts, data, activations)

    def seal(self) -> None:
        seal(self.store, self.parts, RowIds.of("items.jsonl", ((row, f"item-{row}") for row in range(ROWS))))

    def again(self, number: int, change: Callable[[list[Verdict]], list[Verdict]], **versions: Any) -> None:
        """One part as if its worker had written something else."""
        part = self.parts[number]
        self.remove(f"parts/{part.part_id}")
        self.store.delete(f"commits/{part.part_id}.json")
        self.commit(part, change([verdict(row) for row in range(part.start, part.stop)]), **versions)
        self.seal()

    def remove(self, prefix: str) -> None:
        for key in list(self.store.keys(prefix)):
            self.store.delete(key)

    def edit(self, key: str, change: Callable[[Any], Any]) -> None:
        self.store.put(key, json.dumps(change(json.loads(self.store.get(key)))).encode())

    def slot(self, number: int) -> str:
        return f"commits/{self.parts[number].part_id}.json"

    def verified(self, manifest: str | None = None) -> Verified:
        return verify(str(self.root / "out"), manifest)

    def broken(self) -> list[str]:
        return sorted({each.invariant for each in self.verified().violations})


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_a_sound_run_has_no_violation_and_all_was_read(output: Output) -> None:
    found = output.verified(output.manifest)

    assert found.violations == []
    assert (found.finished, found.parts, found.rows) == (True, 3, ROWS)


def test_activations_beside_a_part_are_intact_and_of_all_rows_that_were_read(output: Output) -> None:
    read = replace(verdict(1), activation=Activation(bytes(32), bytes(8)))
    origin = {"model_fingerprint": "m", "sites": "2 last"}
    output.again(0, lambda rows: rows, activations=activations_to_parquet([read], origin))
    [key] = output.store.keys("activations/")

    [found] = output.verified().violations
    output.store.put(key, output.store.get(key)[:-1])
    [changed] = output.verified().violations
    output.store.delete(key)
    [gone] = output.verified().violations

    assert [(each.invariant, each.where) for each in (found, changed, gone)] == [("I4", key)] * 3
    assert "3 rows have a risk and no activation" in found.found


def test_a_run_that_is_not_finished_is_no_violation(output: Output) -> None:
    for key in (SUCCESS, SEALED, output.slot(1)):
        output.store.delete(key)

    found = output.verified()

    assert found.violations == []
    assert (found.finished, found.rows, found.lost_attempts) == (False, 8, 1)


DAMAGE: dict[str, tuple[list[str], Callable[[Output], None]]] = {
    "a record is gone": (["I1", "I5"], lambda out: out.store.delete(out.slot(1))),
    "a part file is gone": (["I4"], lambda out: out.remove("parts/")),
    "a part of another run": (["I1", "I4", "I5"], lambda out: out.edit(out.slot(0), lambda it: it | {"source": "x"})),
    "a part twice": (
        ["I2", "I4", "I5"],
        lambda out: out.store.put(
            "commits/twice.json", out.store.get(out.slot(0)).replace(out.parts[0].part_id.encode(), b"twice")
        ),
    ),
    "a record that is no JSON": (["I4"], lambda out: out.store.put(out.slot(0), b"{")),
    "a record under another name": (
        ["I4"], lambda out: out.store.put(out.slot(0), out.store.get(out.slot(1)))
    ),
    "another lease": (["I3", "I5"], lambda out: out.edit(out.slot(0), lambda it: it | {"token": 7})),
    "other counts": (["I4", "I5"], lambda out: out.edit(out.slot(0), lambda it: it | {"actions": {"answer": 4}})),
    "other ids": (["I4", "I5"], lambda out: out.edit(out.slot(0), lambda it: it | {"ids": "0" * 32})),
    "a changed run record": (["I4"], lambda out: out.edit("run.json", lambda it: it | {"bundle_id": "other"})),
    "a list without a part": (["I5"], lambda out: out.edit(SEALED, lambda it: {"parts": it["parts"][1:]})),
    "a list that is gone": (["I5"], lambda out: out.store.delete(SEALED)),
    "a row of another bundle": (["I6"], lambda out: out.again(1, lambda rows: rows, bundle_id="other")),
    "a replacement with a hole": (
        ["I1", "I3", "I5"],
        lambda out: out.store.put(
            f"redone/{out.parts[0].part_id}.json",
            json.dumps({"part_id": out.parts[0].part_id, "pieces": [[0, 1], [2, 4]], "reason": "retry"}).encode(),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(output: Output, damage: str) -> None:
    expected, do = DAMAGE[damage]
    do(output)
    assert output.broken() == expected


def changed(row: int, **values: Any) -> Callable[[list[Verdict]], list[Verdict]]:
    return lambda rows: [replace(each, **values) if each.row == row else each for each in rows]


UNSAFE = {
    "answered without a risk": changed(4, risk=math.nan),
    "answered above the threshold": changed(4, risk=0.7),
    "answered through an open gate": changed(4, gate_open=True),
    "answered with no gate evaluated": changed(4, gate_evaluations=0),
    "answered with an error": changed(4, flaw=Flaw("E_RISK", "no risk")),
    "a risk that is no probability": changed(6, risk=1.5),
    "an error with an answer": changed(5, answer="text"),
    "refused under a closed gate": changed(6, gate_open=False),
}


@pytest.mark.parametrize("unsafe", UNSAFE)
def test_a_row_that_did_not_fail_closed_is_named(output: Output, unsafe: str) -> None:
    output.again(1, UNSAFE[unsafe])
    assert "I7" in output.broken()


def test_a_poisonous_row_beside_others_or_an_error_without_a_reason_is_named(output: Output) -> None:
    output.again(1, changed(5, flaw=Flaw("E_POISONED", "")))
    assert [each.invariant for each in output.verified().violations] == ["I8", "I8"]


def another_type(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("row"), "row", table["row"].cast(pa.int32()))


@pytest.mark.parametrize("change", [lambda table: table.drop_columns("bundle_id"), another_type])
def test_a_part_without_a_column_is_named_even_where_its_digest_agrees(
    output: Output, change: Callable[[pa.Table], pa.Table]
) -> None:
    key = json.loads(output.store.get(output.slot(0)))["key"]
    sink = BytesIO()
    pq.write_table(change(pq.read_table(BytesIO(output.store.get(key)))), sink)
    data = sink.getvalue()
    output.store.put(key, data)
    output.edit(output.slot(0), lambda it: it | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})

    [found] = [each for each in output.verified().violations if each.where == key]

    assert found.invariant == "I4" and "lacks the columns" in found.found


def test_an_attempt_that_decided_otherwise_is_named(output: Output) -> None:
    part = output.parts[2]
    other = [replace(verdict(row), action=Action.ANSWER) for row in range(part.start, part.stop)]
    key = f"parts/{part.part_id}.2-abcd.parquet"
    output.store.put(key, verdicts_to_parquet(other, {"bundle_id": "another"}))
    assert output.verified().violations == []  # in a run that follows a registry, that is no wonder
    output.store.put(key, verdicts_to_parquet(other, {"bundle_id": "bundle"}))
    [found] = output.verified().violations
    assert found.invariant == "I9" and "rows 9 were decided otherwise" in found.found


def test_a_manifest_that_changed_is_named(output: Output) -> None:
    Path(output.manifest).write_text(Path(output.manifest).read_text().replace("question 3", "question three"))
    [found] = output.verified(output.manifest).violations
    assert found.invariant == "I1" and "its files differ" in found.found


def test_single_flipped_bits_in_parts_and_records_are_found_or_change_nothing(output: Output) -> None:
    rows = [each for each in output.verified().as_json().items() if each[0] != "violations"]
    for key in [*output.store.keys("parts/"), output.slot(0), SEALED, "run.json"]:
        data = output.store.get(key)
        for bit in range(0, 8 * len(data), max(1, 8 * len(data) // 12) | 1):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            output.store.put(key, bytes(flipped))
            try:
                found = output.verified()
            except UserMistake:
                continue
            if key.startswith("parts/"):
                assert found.violations, (key, bit)
            elif not found.violations:
                assert [each for each in found.as_json().items() if each[0] != "violations"] == rows, (key, bit)
        output.store.put(key, data)
