"""Rows that are wanted anew, and a run with its queue on a server: the real commands, one after the other."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("upkeep"), 24)


def said(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    """What a command prints for programs."""
    finished = workspace.run(workspace.command(*arguments, "--json"))
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_error_rows_are_done_again_and_the_others_keep_their_verdicts(workspace: Workspace) -> None:
    command = workspace.generate("again", "items.parquet", "--set", "workers=1", "--set", "activations=true")
    assert workspace.run(command).returncode == 0
    before = {row["item_id"]: row for row in workspace.rows("again")}

    assert said(workspace, "retry", "again", "--errors", "E_IMAGE_FORMAT") == {"rows": 1, "parts": 0}
    state = said(workspace, "status", "again")
    assert state["state"] == "unfinished" and state["activation_bytes"] > 23 * 32
    assert workspace.run(command).returncode == 0

    after = {row["item_id"]: row for row in workspace.rows("again")}
    workspace.assert_every_item_has_one_row("again")
    assert said(workspace, "verify", "again", "--manifest", "items.parquet")["violations"] == []
    broken = after.pop("item-0007")
    assert (broken["error_code"], broken["part_id"]) != (None, before.pop("item-0007")["part_id"])
    assert [(row["answer"], row["risk"]) for row in after.values()] == [
        (row["answer"], row["risk"]) for row in before.values()
    ]


@pytest.mark.chaos
def test_a_queue_on_a_server_is_empty_once_its_run_is_sealed(workspace: Workspace, postgres_address: str) -> None:
    settings = ["--set", "workers=1", "--set", f"queue={postgres_address}"]

    finished = workspace.run(workspace.generate("served", "items.parquet", *settings))

    assert finished.returncode == 0, finished.stderr
    workspace.assert_every_item_has_one_row("served")
    with psycopg.connect(postgres_address) as db:
        assert db.execute("SELECT count(*) FROM autosteer_part").fetchone() == (0,)
    assert not list(Path(workspace.root, "served").glob(".queue/*"))
