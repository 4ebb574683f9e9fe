"""Bad input that only a worker can notice: one sentence, or one error row beside good ones."""

from dataclasses import replace

import pytest

from autosteer_core.bundle_reading import from_files
from pipelines.bundle_files import save_bundle
from pipelines.settings import load_settings
from pipelines.signing import signer_of
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ONE_WORKER = ["items.parquet", "--set", "workers=1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("bad"), 24)


def test_a_bundle_of_another_model_is_refused_by_the_workers(workspace: Workspace) -> None:
    files = {name: (workspace.root / "bundle" / name).read_bytes() for name in ("card.json", "weights.safetensors")}
    bundle = replace(from_files(files), fingerprint="0" * 64)
    save_bundle(bundle, str(workspace.root / "stranger"), signer_of(load_settings()))

    refused = workspace.run(workspace.generate("stranger-out", *ONE_WORKER, "--bundle", "stranger"))

    assert refused.returncode == 2
    assert "fitted on model 000000000000" in refused.stderr and "Traceback" not in refused.stderr
    assert workspace.commits("stranger-out") == 0


def test_a_corrupt_picture_is_an_error_row_and_the_run_goes_on(workspace: Workspace) -> None:
    finished = workspace.run(workspace.generate("corrupt", *ONE_WORKER))

    assert finished.returncode == 0, finished.stderr
    workspace.assert_every_item_has_one_row("corrupt")
    [broken] = [row for row in workspace.rows("corrupt") if row["action"] == "error"]
    assert (broken["item_id"], broken["error_code"], broken["answer"]) == ("item-0007", "E_IMAGE_FORMAT", None)
