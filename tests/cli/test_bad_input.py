"""Bad input: one clear sentence with what to do, exit code 2 for the user's mistake, never a traceback."""

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
        ("empty.parquet", "no rows"),
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "unknown.toml"], "unknown setting `wokers`"),
        (["--config", "nowhere.toml"], "cannot be read"),
        (["--set", "batch_rows=0"], "batch_rows"),
        (["--set", "batch_rows"], "has no value"),
        (["--column", "identity=id"], "identity"),
        (["--column", "text=prompt"], "no column prompt"),
        (["--bundle", "damaged"], "do not match its card"),
        (["--bundle", "nowhere"], "holds no bundle"),
    ],
)
def test_a_bad_flag_is_one_sentence(workspace: Workspace, inside: InProcess, flags: list[str], message: str) -> None:
    assert_one_sentence(inside(workspace.generate("bad-flag", "items.parquet", *flags)), message)


@pytest.mark.ray
def test_a_bundle_of_another_model_is_refused_by_the_workers(workspace: Workspace) -> None:
    from dataclasses import replace

    from autosteer_core.bundle import from_files, to_files

    files = {name: (workspace.root / "bundle" / name).read_bytes() for name in ("card.json", "weights.safetensors")}
    bundle = replace(from_files(files), fingerprint="0" * 64)
    Path(workspace.root, "stranger").mkdir()
    for name, data in to_files(bundle).items():
        (workspace.root / "stranger" / name).write_bytes(data)

    refused = workspace.run(workspace.generate("stranger-out", "items.parquet", "--bundle", "stranger"))

    assert_one_sentence(refused, "fitted on model 000000000000")
    assert workspace.commits("stranger-out") == 0


@pytest.mark.ray
def test_a_corrupt_picture_is_an_error_row_and_the_run_goes_on(workspace: Workspace) -> None:
    finished = workspace.run(workspace.generate("corrupt"))

    assert finished.returncode == 0, finished.stderr
    workspace.assert_every_item_has_one_row("corrupt")
    [broken] = [row for row in workspace.rows("corrupt") if row["action"] == "error"]
    assert (broken["item_id"], broken["error_code"], broken["answer"]) == ("item-0007", "E_IMAGE_FORMAT", None)

    # The output now belongs to this run.
    other = workspace.run(workspace.generate("corrupt", "items.parquet", "--set", "max_new_tokens=5"))
    assert_one_sentence(other, "holds another run")


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
