"""Ten million rows are planned below 500 MB: ids checked and summed, files hashed, parts cut and gone through."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.chaos.scale import scaled

pytestmark = pytest.mark.chaos

MANY, SOME = scaled(10_000_000), 1_000_000
LIMIT_MB = 500
ROWS_PER_GROUP = 100_000

KEPT_MB = 70  # more than planning takes, whatever the number of rows; less than a million kept rows take

# `keep` is the control: the same plan by a program that holds every id and every part.
PLAN = """
import json, sys, time
from autosteer_core.run import Run
from infra.open_manifest import open_manifest
import infra.file_manifest

def megabytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) / 1024

keep = sys.argv[2] == "keep"
kept = []
if keep:
    read = infra.file_manifest.sum_of_unique_ids
    def holding(ids):
        kept.extend(ids())
        return read(lambda: kept)
    infra.file_manifest.sum_of_unique_ids = holding
before, start = megabytes("VmRSS"), time.monotonic()
manifest = open_manifest(sys.argv[1])
run = Run("audit", "m", manifest.files(), "b", {})
parts = run.parts(32, manifest.stretches)
if keep:
    parts = list(parts)
rows = sum(part.rows for part in parts)
print(json.dumps({
    "rows": rows, "summed": manifest.row_ids().rows, "parts": len(parts), "seconds": time.monotonic() - start,
    "before": before, "peak": megabytes("VmHWM"),
}))
"""


def plan(path: Path, how: str = "bounded") -> dict[str, Any]:
    """What planning found and took, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PLAN, str(path), how], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    speed = found["rows"] / found["seconds"]
    print(
        f"\n{path.name}, {how}: {found['rows']:,} rows, {found['parts']:,} parts, peak {found['peak']:.0f} MB, ",
        end="",
    )
    print(f"{found['peak'] - found['before']:.0f} MB of them for planning, {speed:,.0f} rows/s")
    return found


def write_parquet(path: Path, rows: int) -> Path:
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, rows, ROWS_PER_GROUP):
            numbers = range(first, first + ROWS_PER_GROUP)
            columns = [[f"item-{n:09d}" for n in numbers], [f"what is {n}?" for n in numbers]]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def write_jsonl(path: Path, rows: int) -> Path:
    with path.open("w") as file:
        for number in range(rows):
            file.write(f'{{"id": "item-{number:09d}", "text": "what is {number}?"}}\n')
    return path


def test_ten_million_rows_of_parquet(tmp_path: Path) -> None:
    found = plan(write_parquet(tmp_path / "many.parquet", MANY))
    assert (found["rows"], found["summed"], found["parts"]) == (MANY, MANY, MANY // 32)
    assert found["peak"] < LIMIT_MB


@pytest.mark.parametrize("write", [write_parquet, write_jsonl])
def test_memory_of_a_plan_does_not_follow_the_rows_and_would_if_all_were_kept(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "some", SOME)
    bounded, keeping = plan(path), plan(path, "keep")
    assert bounded["rows"] == keeping["rows"] == SOME
    assert bounded["parts"] == keeping["parts"]
    assert bounded["peak"] - bounded["before"] < KEPT_MB
    assert keeping["peak"] - keeping["before"] > KEPT_MB
