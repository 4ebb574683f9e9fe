"""The operator guide's commands work as they stand there, and what it names exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.tour]

ROOT = DEPLOY.parents[1]
GUIDE = (ROOT / "docs" / "operating.md").read_text("utf-8")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("operating"), 16)


def test_every_command_of_the_guide_that_needs_no_cluster_works(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=workspace.root,
            env=workspace.environment() | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"

    assert len(blocks) == 3
    workspace.assert_every_item_has_one_row("runs/monday")
    workspace.assert_every_item_has_one_row("backup/monday")
