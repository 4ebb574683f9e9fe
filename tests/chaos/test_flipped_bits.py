"""Ten thousand single-bit flips in committed parts are all found by `verify`; without its guards some are not."""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from autosteer_core.commit import SEALED, SUCCESS, commit_part, seal
from autosteer_core.errors import UserMistake
from autosteer_core.row_ids import RowIds
from autosteer_core.run import RECORD, Run, take_over
from autosteer_core.values import Action, Flaw, Lease, Verdict
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.verdict_files import verdicts_to_parquet
from infra.verdict_rows import rows_from_parquet
from pipelines.verify import verify
from tests.chaos.scale import scaled

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SEED = 20_261
ROWS, ROWS_PER_PART = 64, 32
IN_PARTS, IN_RECORDS, IN_CONTROLS = scaled(10_000), scaled(2_000), 600


def verdict(row: int) -> Verdict:
    if row % 13 == 5:
        return Verdict(f"item-{row}", row, Action.ERROR, math.nan, flaw=Flaw("E_IMAGE_CORRUPT", "it is cut off"))
    risky = row % 3 == 0
    return Verdict(
        f"item-{row}", row, Action.REFUSE if risky else Action.ANSWER, 0.9 if risky else 0.1 + row / 1000,
        f"the answer to question {row} is {row * row}", threshold=0.5,
        gate_open=risky, gate_evaluations=1, steered_tokens=3 * risky,
    )  # fmt: skip


@dataclass
class Output:
    """A finished run of 64 rows in two parts, whose files can be damaged and mended."""

    root: Path
    page_checksums: bool = True

    def __post_init__(self) -> None:
        lines = [json.dumps({"id": f"item-{row}", "text": f"question {row}"}) for row in range(ROWS)]
        (self.root / "items.jsonl").write_text("\n".join(lines))
        manifest = str(self.root / "items.jsonl")
        files = open_manifest(manifest).files()
        run = Run("generate", manifest, files, "bundle", {"columns": asdict(ColumnMap())})
        parts = list(run.parts(ROWS_PER_PART))
        self.out, self.store = self.root / "out", FolderStore(self.root / "out")
        take_over(self.store, run)
        for part in parts:
            verdicts = [verdict(row) for row in range(part.start, part.stop)]
            made = {"run_id": run.run_id, "bundle_id": "bundle", "model_fingerprint": "m", "part_id": part.part_id}
            data = verdicts_to_parquet(verdicts, made)
            data = data if self.page_checksums else without_page_checksums(data)
            commit_part(self.store, Lease(part, 1, "w", 0.0), verdicts, data)
        seal(self.store, parts, RowIds.of("items.jsonl", ((row, f"item-{row}") for row in range(ROWS))))
        assert self.found() == []

    def found(self) -> list[str]:
        """Where `verify` finds something; what it refuses to read at all counts as found."""
        try:
            return [each.where for each in verify(str(self.out)).violations]
        except UserMistake as error:
            return [str(error)]

    def flip(self, key: str, chance: random.Random) -> bytes:
        """The file with one bit turned over."""
        data = bytearray(self.store.get(key))
        bit = chance.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        return bytes(data)

    @contextmanager
    def holding(self, key: str, data: bytes) -> Iterator[None]:
        """For a while other bytes are in place of the file's; written without a wait for the disk."""
        path = self.out / key
        before = path.read_bytes()
        path.write_bytes(data)
        try:
            yield
        finally:
            path.write_bytes(before)


def without_page_checksums(data: bytes) -> bytes:
    sink = BytesIO()
    pq.write_table(pq.read_table(BytesIO(data)), sink, compression="zstd", write_page_checksum=False)
    return sink.getvalue()


def test_every_flip_in_a_committed_part_is_found_and_its_file_named(tmp_path: Path) -> None:
    output, chance = Output(tmp_path), random.Random(SEED)
    keys = list(output.store.keys("parts/"))
    missed = 0
    for number in range(IN_PARTS):
        key = keys[number % len(keys)]
        with output.holding(key, output.flip(key, chance)):
            missed += key not in output.found()
    print(f"\n{IN_PARTS:,} flips in {len(keys)} parts, seed {SEED}: {missed} missed")

    assert missed == 0
    assert output.found() == []


def test_a_flip_in_a_record_is_found_or_changes_nothing_that_a_reader_uses(tmp_path: Path) -> None:
    """Records need no checksum of their own: every value stands in a second place that it is compared with."""
    output, chance = Output(tmp_path), random.Random(SEED)
    keys = [*output.store.keys("commits/"), SEALED, RECORD]
    found = 0
    for number in range(IN_RECORDS):
        key = keys[number % len(keys)]
        flipped = output.flip(key, chance)
        with output.holding(key, flipped):
            noticed = bool(output.found())
        found += noticed
        assert noticed or meaning(flipped) == meaning(output.store.get(key)), (key, flipped)
    print(f"\n{IN_RECORDS:,} flips in records, seed {SEED}: {found:,} found, {IN_RECORDS - found} without effect")

    assert found > IN_RECORDS // 2


def meaning(data: bytes) -> Any:
    """What readers use: the address that a manifest had is told to people only, its contents are what counts."""
    values = json.loads(data)
    values.pop("manifest", None)
    return values


@pytest.mark.parametrize("page_checksums", [True, False], ids=["without SHA-256", "without any checksum"])
def test_flips_stay_silent_where_the_digest_was_made_of_damaged_bytes(tmp_path: Path, page_checksums: bool) -> None:
    """The control: the record agrees with the damaged file, so only what lies inside it can tell."""
    output, chance = Output(tmp_path, page_checksums), random.Random(SEED)
    output.store.delete(SUCCESS)  # a run that goes on: the list of parts does not count yet
    key, slot = next(output.store.keys("parts/")), next(output.store.keys("commits/"))
    record, rows = json.loads(output.store.get(slot)), list(rows_from_parquet(output.store.get(key)))
    silent = wrong = 0
    for _ in range(IN_CONTROLS):
        flipped = output.flip(key, chance)
        agreeing = record | {"sha256": hashlib.sha256(flipped).hexdigest()}
        with output.holding(key, flipped), output.holding(slot, json.dumps(agreeing).encode()):
            if not output.found():
                silent += 1
                wrong += list(rows_from_parquet(flipped)) != rows
    print(f"\n{IN_CONTROLS} flips, page checksums {page_checksums}: {silent} silent, {wrong} with other rows")

    assert silent > 0
    assert bool(wrong) is not page_checksums
