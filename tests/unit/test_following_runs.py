"""The output of a run that follows a registry: verified part by part, done again under the bundle of each."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from autosteer_core.audit_log import Deed
from autosteer_core.bundle import to_files
from autosteer_core.commit import commit_part, seal
from autosteer_core.errors import UserMistake
from autosteer_core.records import read_records
from autosteer_core.registry import Published
from autosteer_core.row_ids import RowIds
from autosteer_core.run import FOLLOWING, Run, take_over
from autosteer_core.serving import Serving
from autosteer_core.values import Action, BundleId, Flaw, Lease, Part, Verdict
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.verdict_files import verdicts_to_parquet
from pipelines.following import PromotedBundles, is_following
from pipelines.registry_files import open_registry
from pipelines.retry import retry
from pipelines.settings import load_settings
from pipelines.verify import verify
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

ROWS = 12
UNDER = [BundleId("one"), BundleId("two"), BundleId("one")]


def verdict(row: int, under: BundleId | None) -> Verdict:
    if row == 5:
        flaw = Flaw("E_OUT_OF_MEMORY", "there was none: try again")
        return Verdict(f"item-{row}", row, Action.ERROR, math.nan, flaw=flaw, under=under)
    return Verdict(
        f"item-{row}",
        row,
        Action.ANSWER,
        0.1,
        "text",
        threshold=0.5,
        gate_open=False,
        gate_evaluations=1,
        under=under,
    )


class Output:
    """A finished run in three parts under two bundles."""

    def __init__(self, root: Path) -> None:
        lines = [json.dumps({"id": f"item-{row}", "text": f"question {row}"}) for row in range(ROWS)]
        (root / "items.jsonl").write_text("\n".join(lines))
        self.out, self.store = str(root / "out"), FolderStore(root / "out")
        files = open_manifest(str(root / "items.jsonl")).files()
        self.run = Run("generate", "items.jsonl", files, FOLLOWING, {"columns": asdict(ColumnMap())})
        self.parts = list(self.run.parts(4))
        take_over(self.store, self.run)
        for part, under in zip(self.parts, UNDER, strict=True):
            self.commit(part, under)
        seal(self.store, self.parts, RowIds.of("items.jsonl", ((row, f"item-{row}") for row in range(ROWS))))

    def commit(self, part: Part, under: BundleId | None) -> None:
        made = {"run_id": self.run.run_id, "model_fingerprint": "m", "part_id": str(part.part_id)}
        rows = [verdict(row, under) for row in range(part.start, part.stop)]
        data = verdicts_to_parquet(rows, made | ({"bundle_id": str(under)} if under else {}))
        assert commit_part(self.store, Lease(part, 1, "w", 0.0, under=under), rows, data)

    def edit(self, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
        """The commit record of one part, as somebody would change it who knows the format."""
        key = f"commits/{self.parts[number].part_id}.json"
        record = json.loads(self.store.get(key))
        change(record)
        self.store.put(key, json.dumps(record).encode())

    def broken(self) -> set[str]:
        return {f"{each.invariant} {each.found}" for each in verify(self.out).violations}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_parts_of_several_bundles_are_sound(output: Output) -> None:
    assert output.broken() == set()


def test_rows_of_another_bundle_than_the_record_says_are_named(output: Output) -> None:
    output.edit(1, lambda record: record.update(bundle_id="one"))

    assert any(found.startswith("I6 bundle_id is two, expected one") for found in output.broken())


def test_rows_that_no_bundle_judged_are_named_unless_they_are_errors(output: Output) -> None:
    output.edit(1, lambda record: record.update(bundle_id=None))

    assert any("names no bundle, and not all of its rows are errors" in found for found in output.broken())


def test_rows_done_again_stand_beside_those_that_keep_their_bundle(output: Output) -> None:
    assert retry(output.out, "transient").rows == 1

    kept = {record.start: record.bundle_id for record in read_records(output.store).current}
    assert kept == {0: "one", 4: "two", 6: "two", 8: "one"}
    (missing,) = (
        part for part in read_records(output.store).leaves(output.parts) if part.rows == 1 and part.start == 5
    )
    output.commit(missing, BundleId("three"))
    seal(output.store, output.parts, RowIds.of("items.jsonl", ((row, f"item-{row}") for row in range(ROWS))))
    assert output.broken() == set()


def test_a_bundle_that_is_named_wins_over_a_registry() -> None:
    assert is_following(load_settings(registry="r"))
    assert not is_following(load_settings(registry="r", bundle="b"))
    assert not is_following(load_settings())


def test_what_a_registry_promotes_is_what_is_served(tmp_path: Path) -> None:
    address = str(tmp_path / "registry")
    registry, source = open_registry(address), PromotedBundles.at(address)
    bundle = tiny_bundle(tiny_llava_onevision())
    one, two = (registry.publish(to_files(replace(bundle, report={"n": n})), Published()) for n in range(2))

    with pytest.raises(UserMistake, match="nothing is promoted in registry") as refused:
        source.serving()
    assert refused.value.code == "E_REGISTRY_STAGE"

    state = registry.promote(one, "first", "me")
    assert source.serving() == Serving(state.epoch, one)
    registry.shadow(two, "look at it", "me")
    assert source.serving() == Serving(state.epoch, one)
    registry.canary(two, 0.25, "try it", "me")
    assert source.serving() == Serving(state.epoch, one, two, 0.25)
    assert source.files(two).keys() == {"card.json", "weights.safetensors", "signature.json"}
    assert Deed.CANARY_STARTED in {move.deed for move in registry.state().moves()}
