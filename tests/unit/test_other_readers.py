"""Other people's programs read the output: DuckDB and Spark, over the paths that `dataset.json` lists."""

import json
import math
import shutil
from pathlib import Path

import duckdb
import pytest

from autosteer_core.commit import SEALED, commit_part, seal
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Action, Flaw, Lease, Part, PartId, Reading, Verdict
from infra.folder_store import FolderStore
from infra.verdict_files import verdicts_to_parquet

ROWS = 10


def verdict(row: int) -> Verdict:
    if row == 7:
        return Verdict(f"id-{row}", row, Action.ERROR, math.nan, flaw=Flaw("E_IMAGE_CORRUPT", "it is cut off"))
    return Verdict(
        f"id-{row}", row, Action.ANSWER, row / 16, f"answer {row}", threshold=0.75, gate_open=False,
        gate_evaluations=1, compared={"always": "refuse"}, beside={"other": Reading(0.25, False)},
        logprobs=(-0.5, -1.0),
    )  # fmt: skip


def sealed_output(root: Path) -> list[str]:
    """Paths of the parts that readers are told of; a part of an attempt that lost lies beside them."""
    store = FolderStore(root)
    parts = [Part(PartId(f"p{start}"), "items.jsonl", start, start + 5) for start in range(0, ROWS, 5)]
    for part in parts:
        verdicts = [verdict(row) for row in range(part.start, part.stop)]
        data = verdicts_to_parquet(verdicts, {"bundle_id": "b", "part_id": part.part_id})
        commit_part(store, Lease(part, 1, "w", 0.0), verdicts, data)
        store.put(f"parts/{part.part_id}.2-lost.parquet", data)
    seal(store, parts, RowIds.of("items.jsonl", ((row, f"id-{row}") for row in range(ROWS))))
    return [str(root / part["key"]) for part in json.loads(store.get(SEALED))["parts"]]


def test_duckdb_reads_every_row_once_and_agrees_with_the_list_of_parts(tmp_path: Path) -> None:
    paths = sealed_output(tmp_path)

    rows = duckdb.execute(
        'select "row", item_id, action, risk from read_parquet(?) order by "row"', [paths]
    ).fetchall()

    assert rows == [
        (row, f"id-{row}", str(verdict(row).action), None if row == 7 else row / 16) for row in range(ROWS)
    ]


def test_duckdb_reads_texts_that_repeat_maps_and_lists_as_its_own_types(tmp_path: Path) -> None:
    paths = sealed_output(tmp_path)
    query = """
        select typeof("row"), typeof(action), bundle_id, compared['always'], beside['other'].risk, list_sum(logprobs)
        from read_parquet(?) where "row" = 3
    """

    [found] = duckdb.execute(query, [paths]).fetchall()

    assert found == ("BIGINT", "VARCHAR", "b", "refuse", 0.25, -1.5)


def test_a_reader_that_ignores_the_list_sees_rows_of_a_lost_attempt(tmp_path: Path) -> None:
    """The control: the list is what keeps them apart."""
    sealed_output(tmp_path)
    [(rows,)] = duckdb.execute("select count(*) from read_parquet(?)", [str(tmp_path / "parts/*.parquet")]).fetchall()
    assert rows == 2 * ROWS


def test_spark_reads_the_same_where_it_is_installed(tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    paths = sealed_output(tmp_path)
    chosen = "row", "item_id", "action", "risk", "compared['always']", "beside['other'].risk", "logprobs[1]"

    with sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate() as spark:
        frame = spark.read.parquet(*paths)
        found = [tuple(row) for row in frame.orderBy("row").selectExpr(*chosen).collect()]
        types = dict(frame.dtypes)

    assert [row[:4] for row in found] == [
        (row, f"id-{row}", str(verdict(row).action), None if row == 7 else row / 16) for row in range(ROWS)
    ]
    assert found[3][4:] == ("refuse", 0.25, -1.0)
    assert (types["row"], types["action"], types["compared"]) == ("bigint", "string", "map<string,string>")
