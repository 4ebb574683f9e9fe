"""Bad input: one clear sentence with what to do, exit code 2 for the user's mistake, never a traceback."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from tests.workspace import Workspace, make_workspace

pytestmark = pytest.mark.slow

Finished = subprocess.CompletedProcess[str]
InProcess = Callable[[list[str]], Finished]


@pytest.fixture
def inside(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """The same command in this process: importing torch again for every case would take minutes."""

    def call(command: list[str]) -> Finished:
        monkeypatch.chdir(workspace.root)
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Finished(command, int(ended.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_workspace(tmp_path_factory.mktemp("bad"), 24)
    root = made.root
    pq.write_table(pa.table({"uid": ["a"], "text": ["x"]}), root / "no-id.parquet")
    pq.write_table(
        pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), root / "empty.parquet"
    )
    pq.write_table(pa.table({"id": ["a", "a"], "text": ["x", "y"]}), root / "twice.parquet")
    (root / "page.parquet").write_text("<!DOCTYPE html><html></html>")
    (root / "cut.parquet").write_bytes((root / "items.parquet").read_bytes()[:-30])
    (root / "unknown.toml").write_text("wokers = 3\n")
    shutil.copytree(root / "bundle", root / "damaged")
    (root / "damaged" / "weights.safetensors").write_bytes(b"not the weights")
    return made


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("no-id.parquet", "no column id"),
        ("twice.parquet", "a"),
        ("page.parquet", "page.parquet"),
        ("cut.parquet", "cut.parquet"),
        ("nowhere.parquet", "nowhere.parquet"),
        ("ftp://host/items.parquet", "ftp"),
    ],
)
def test_a_bad_manifest_is_one_sentence(workspace: Workspace, inside: InProcess, manifest: str, message: str) -> None:
    assert_one_sentence(inside(workspace.generate("bad-manifest", manifest)), message)
    assert not Path(workspace.root, "bad-manifest").exists()


def test_a_manifest_without_rows_is_a_run_of_nothing_with_a_warning(workspace: Workspace, inside: InProcess) -> None:
    finished = inside(workspace.generate("nothing", "empty.parquet"))

    assert finished.returncode == 0, finished.stderr
    assert "the manifest has no rows" in finished.stderr
    workspace.assert_every_item_has_one_row("nothing", "empty.parquet")
    assert inside(workspace.command("verify", "nothing", "--manifest", "empty.parquet")).returncode == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "unknown.toml"], "unknown setting `wokers`"),
        (["--config", "nowhere.toml"], "cannot be read"),
        (["--set", "batch_rows=0"], "batch_rows"),
        (["--set", "batch_rows"], "has no value"),
        (["--column", "identity=id"], "identity"),
        (["--column", "text=prompt"], "no column prompt"),
        (["--bundle", "damaged"], "E_ARTIFACT_CORRUPT: bundle damaged: weights.safetensors has 15 bytes"),
        (["--bundle", "nowhere"], "holds no bundle"),
    ],
)
def test_a_bad_flag_is_one_sentence(workspace: Workspace, inside: InProcess, flags: list[str], message: str) -> None:
    assert_one_sentence(inside(workspace.generate("bad-flag", "items.parquet", *flags)), message)


def test_an_output_that_belongs_to_another_run_is_refused(workspace: Workspace, inside: InProcess) -> None:
    taken = workspace.root / "taken"
    taken.mkdir()
    (taken / "run.json").write_text('{"kind": "audit"}')

    assert_one_sentence(inside(workspace.generate("taken")), "holds another run, it differs in kind")


def test_status_of_a_folder_without_a_run_says_so(workspace: Workspace, inside: InProcess) -> None:
    assert_one_sentence(inside(workspace.command("status", "model")), "holds no run")


def test_calibration_without_labels_says_so(workspace: Workspace, inside: InProcess) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), workspace.root / "unlabelled.parquet")

    assert_one_sentence(
        inside(workspace.command("calibrate", "unlabelled.parquet", "--out", "new", "--model", "model")),
        "has no label",
    )


def assert_one_sentence(finished: Finished, message: str) -> None:
    """Exit code 2, the message on standard error, and nothing that looks like a program's inside."""
    said = " ".join(finished.stderr.split())
    assert finished.returncode == 2, said
    assert message in said
    assert "Traceback" not in said
    assert said.count("error:") == 1


def test_a_program_that_asked_for_json_gets_the_error_as_json_too(workspace: Workspace, inside: InProcess) -> None:
    finished = inside(workspace.command("status", "model", "--json"))

    said = json.loads(finished.stdout)["error"]
    assert (finished.returncode, said["code"]) == (2, "E_REQUEST")
    assert "holds no run" in said["message"]
