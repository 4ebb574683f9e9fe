"""Encoding processes beside a real worker: the rows are the same, and no process stays behind."""

import psutil
import pytest

from pipelines.engines import build_engine
from pipelines.reading import open_items
from pipelines.settings import load_settings
from pipelines.wiring import all_items
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("ahead"), 24)


def encoding_processes(driver: psutil.Process) -> set[psutil.Process]:
    """Those of this driver's own workers."""
    return {each for each in driver.children(recursive=True) if "workers.encoding_child" in commands(each)}


def commands(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_rows_encoded_in_a_process_beside_the_actor_are_those_of_the_engine_alone(workspace: Workspace) -> None:
    ahead = ["--set", "workers=1", "--set", "encoding_processes=1"]
    driver = workspace.start(workspace.generate("ahead", "items.parquet", *ahead))
    seen: set[psutil.Process] = set()
    while driver.poll() is None:
        seen |= encoding_processes(psutil.Process(driver.pid))
        psutil.wait_procs([psutil.Process(driver.pid)], timeout=0.2)

    assert driver.returncode == 0, driver.communicate()
    assert len(seen) == 1
    assert not psutil.wait_procs(seen, timeout=10)[1]
    settings = load_settings(
        model=str(workspace.root / "model"), bundle=str(workspace.root / "bundle"), max_new_tokens=12
    )
    alone = build_engine(settings).generate(all_items(open_items(str(workspace.root / "items.parquet"))))
    rows = workspace.rows("ahead")
    assert [row["item_id"] for row in rows] == [verdict.item_id for verdict in alone]
    assert [(row["action"], row["answer"]) for row in rows] == [(each.action.value, each.answer) for each in alone]
    broken = [row["action"] == "error" for row in rows]
    assert broken.count(True) == 1
    risks = [row["risk"] for row, bad in zip(rows, broken, strict=True) if not bad]
    assert risks == pytest.approx([each.risk for each, bad in zip(alone, broken, strict=True) if not bad], abs=1e-4)
