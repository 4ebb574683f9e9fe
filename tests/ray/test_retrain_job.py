"""A retraining as a job of a Ray cluster, by the same command as here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.registry import Stage
from infra.folder_store import FolderStore
from pipelines.registry_files import open_registry
from tests.retrainings import serving
from workers.ray_access import LOOPBACK, require_token
from workers.ray_jobs import run_job

pytest.importorskip("aiohttp", reason="the jobs API of Ray needs ray[default]")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
# As `autosteer` would, from wherever the tests run.
COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()"]


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    import ray

    require_token()
    context = ray.init(address="local", num_cpus=1, include_dashboard=True, dashboard_host=LOOPBACK)
    yield f"http://{context.dashboard_url}"
    ray.shutdown()


def test_the_job_prints_its_result_here_and_ends_with_the_commands_exit_code(dashboard: str, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    parent = serving(FolderStore(registry), open_registry(str(registry)))
    printed: list[str] = []

    words = ["retrain", "--registry", str(registry), "--when-drift", "--run", str(tmp_path / "none"), "--json"]
    code = run_job(dashboard, [*COMMAND, *words], printed.append)

    assert code == 2 and "holds no run" in "".join(printed)
    assert open_registry(str(registry)).state().stages == {parent: Stage.PROMOTED}


def test_a_job_that_ends_well_gives_0_and_all_that_it_printed(dashboard: str) -> None:
    printed: list[str] = []

    assert run_job(dashboard, [*COMMAND, "retrain", "--help"], printed.append) == 0
    assert "--when-labels" in "".join(printed)


def test_an_address_where_no_cluster_answers_is_refused() -> None:
    with pytest.raises(UserMistake, match="no job can be submitted to http://127.0.0.1:9"):
        run_job("http://127.0.0.1:9", ["autosteer"], print)
