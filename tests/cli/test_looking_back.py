"""Replay, recall and erase from the command line, over a run of a model and one that kept its activations."""

import json
from pathlib import Path

import pytest

from autosteer_core.bundle import to_files
from autosteer_core.registry import Published
from pipelines.bundle_files import save_bundle
from pipelines.registry_files import open_registry
from pipelines.settings import load_settings
from pipelines.signing import signer_of
from tests.cli.test_bad_input import InProcess, assert_one_sentence, inside  # noqa: F401
from tests.kept_run import KeptRun, bundle
from tests.workspace import Workspace

pytestmark = pytest.mark.slow

FIRST, NEW = bundle(), bundle(7)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A run that follows a registry, in which two bundles were published and the first serves."""
    run = KeptRun(tmp_path / "kept", first=FIRST)
    Path(run.out).rename(tmp_path / "out")
    save_bundle(NEW, str(tmp_path / "new"), signer_of(load_settings()))
    registry = open_registry(str(tmp_path / "registry"))
    for made in (FIRST, NEW):
        registry.publish(to_files(made), Published())
    registry.promote(FIRST.bundle_id, "the first", "a person")
    return Workspace(tmp_path)


def test_a_replay_lists_flips_for_a_person_and_for_a_program(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    told = inside(workspace.command("replay", "out", "--bundle", "new", "--json"))
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["read"] == 29 and found["flips"] and found["opened"] + found["closed"] == len(found["flips"])

    shown = inside(workspace.command("replay", "out", "--bundle", NEW.bundle_id, "--registry", "registry"))
    assert shown.returncode == 0 and "29 of 30 rows read again" in shown.stderr
    assert found["flips"][0]["item_id"] in shown.stderr


def test_rows_are_done_again_only_by_the_bundle_that_serves(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
) -> None:
    command = workspace.command("replay", "out", "--bundle", NEW.bundle_id, "--registry", "registry", "--regenerate")
    assert_one_sentence(inside(command), "E_NOT_PROMOTED")
    open_registry(str(workspace.root / "registry")).promote(NEW.bundle_id, "better", "a person")
    done = inside(command)
    assert done.returncode == 0 and "repeat each run's command" in done.stderr
    assert not (workspace.root / "out" / "_SUCCESS").exists()


def test_a_bad_bundle_is_recalled(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    command = workspace.command(
        "recall", "out", "--bundle", FIRST.bundle_id, "--registry", "registry", "--reason", "bad"
    )
    assert_one_sentence(inside(command), "E_REGISTRY_STAGE")
    registry = open_registry(str(workspace.root / "registry"))
    registry.promote(NEW.bundle_id, "better", "a person")

    counted = json.loads(inside([*command, "--dry-run", "--json"]).stdout)
    assert counted["rows"] == 30 and (workspace.root / "out" / "_SUCCESS").exists()
    done = json.loads(inside([*command, "--json"]).stdout)

    assert done["rows"] == 30 and not (workspace.root / "out" / "_SUCCESS").exists()
    assert registry.state().stages[FIRST.bundle_id] == "recalled"
    assert json.loads(inside([*command, "--json"]).stdout)["rows"] == 0


def test_an_item_and_what_is_old_are_erased(workspace: Workspace, inside: InProcess) -> None:  # noqa: F811
    erased = inside(workspace.command("erase", "out", "--item", "item-9", "--registry", "registry", "--json"))
    assert erased.returncode == 0, erased.stderr
    assert json.loads(erased.stdout) == {
        "rows": 1, "files": 1, "statements": 0, "review_rows": 0, "material_rows_left": 0
    }  # fmt: skip
    assert inside(workspace.command("verify", "out")).returncode == 0
    assert json.loads(inside(workspace.command("status", "out", "--json")).stdout)["activation_bytes"] > 0
    assert "rows: 28" in inside(workspace.command("erase", "out", "--older-than", "0d")).stderr
    assert json.loads(inside(workspace.command("status", "out", "--json")).stdout)["activation_bytes"] == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["replay", "nowhere", "--bundle", "new"], "holds no run"),
        (["replay", "out", "--bundle", "nowhere"], "holds no bundle"),
        (["replay", "out", "--bundle", "0" * 16, "--registry", "registry"], "holds no bundle"),
        (["recall", "out", "--bundle", "0" * 16, "--reason", "bad"], "no registry was named"),
        (["recall", "out", "--bundle", "0" * 16, "--reason", "bad", "--registry", "registry"], "E_REGISTRY_UNKNOWN"),
        (["erase", "out"], "give --item ID or --older-than 90d"),
        (["erase", "out", "--older-than", "soon"], "is no time"),
        (["erase", "out", "--older-than", "1d", "--registry", "registry"], "--registry goes with --item"),
        (["erase", "--item", "x"], "nothing was named to erase from"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    workspace: Workspace,
    inside: InProcess,  # noqa: F811
    command: list[str],
    message: str,
) -> None:
    assert_one_sentence(inside(workspace.command(*command)), message)
