"""Planning file by file: what is fetched, and when."""

import json
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.ports import ManifestReader
from autosteer_core.run import Run
from autosteer_core.values import Part, PartId
from infra.column_map import ColumnMap
from infra.file_kind import JSON_LINES, PARQUET
from infra.file_manifest import FileManifest
from infra.jsonl_manifest import JsonlRows
from infra.manifest_files import StoredFiles
from infra.memory_store import MemoryStore
from infra.parquet_manifest import ParquetRows


class CountingStore(MemoryStore):
    """Remembers which keys were fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def get(self, key: str) -> bytes:
        self.fetched.append(key)
        return super().get(key)


def reader(store: MemoryStore) -> ManifestReader:
    files = StoredFiles(store, sorted(store.keys()))
    return FileManifest(
        files, {PARQUET: ParquetRows(files, ColumnMap(), 100), JSON_LINES: JsonlRows(files, ColumnMap(), 100)}
    )


@pytest.fixture(params=["parquet", "jsonl"])
def store(request: pytest.FixtureRequest) -> CountingStore:
    made = CountingStore()
    for name in "abc":
        rows = [{"id": f"{name}{row}", "text": "hello"} for row in range(100)]
        sink = BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        lines = "\n".join(json.dumps(row) for row in rows).encode()
        made.put(f"{name}.{request.param}", sink.getvalue() if request.param == "parquet" else lines)
    return made


def test_planning_fetches_every_file_once(store: CountingStore) -> None:
    manifest = reader(store)
    run = Run("audit", "m", manifest.files(), "b", {})
    assert len(run.parts(32, manifest.stretches)) == 12
    assert manifest.row_ids().rows == 300
    assert store.fetched == sorted(store.keys())


def test_a_worker_fetches_only_the_file_of_its_part(store: CountingStore) -> None:
    name = sorted(store.keys())[1]
    manifest = reader(store)
    for start in (0, 50):
        assert len(list(manifest.items(Part(PartId("p"), name, start, start + 50)))) == 50
    assert store.fetched == [name]
