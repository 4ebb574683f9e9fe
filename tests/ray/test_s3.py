"""Manifest, bundle and output in S3, over HTTP: the same commands, another address."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.open_store import open_store
from infra.verdict_files import verdicts_from_parquet
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("s3"), 40)


def test_a_run_from_s3_to_s3_has_one_row_per_item_and_a_second_one_changes_nothing(
    workspace: Workspace, s3_address: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    store = open_store(s3_address)
    store.put_if_absent("in/items.parquet", (workspace.root / "items.parquet").read_bytes())
    for name in ("card.json", "signature.json", "weights.safetensors"):
        store.put_if_absent(f"bundle/{name}", (workspace.root / "bundle" / name).read_bytes())
    command = workspace.generate(
        f"{s3_address}/out", f"{s3_address}/in/items.parquet", "--bundle", f"{s3_address}/bundle",
        "--json", "--set", "workers=1",
    )  # fmt: skip

    finished = workspace.run(command)

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["rows"] == 40
    wanted = pq.read_table(pa.BufferReader(store.get("in/items.parquet"))).column("id").to_pylist()
    parts = json.loads(store.get("out/dataset.json"))["parts"]
    rows = [row.item_id for part in parts for row in verdicts_from_parquet(store.get("out/" + part["key"]))]
    assert rows == wanted
    keys = list(store.keys("out/"))

    assert workspace.run(command).returncode == 0
    assert list(store.keys("out/")) == keys
    assert not any(path.name == ".queue" for path in workspace.root.iterdir())
    assert "AWS_ENDPOINT_URL_S3" in os.environ
