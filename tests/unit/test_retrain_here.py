"""The command as a whole: labels of a run's rows in, a gated candidate of the registry out."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autosteer_core.kept_activations import content_hash
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.registry import Stage
from autosteer_core.values import Label
from infra.folder_store import FolderStore
from infra.review_files import ReviewTable
from pipelines.cli import app
from pipelines.flagged_items import put_review_table
from pipelines.labels import add_statements
from pipelines.registry_files import open_registry
from pipelines.retrain_job import retrain_there
from pipelines.settings import load_settings
from tests import kept_runs
from tests.kept_runs import Row, item, kept_run
from tests.retrainings import serving
from tests.tiny_material import ORIGIN


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    serving(FolderStore(tmp_path / "registry"), open_registry(str(tmp_path / "registry")), held_rows=400, rows=1500)
    return tmp_path / "registry"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Row]]:
    """Every other row is harmful, as the first axis tells."""
    monkeypatch.setattr(
        kept_runs, "ORIGIN", {"model_fingerprint": str(ORIGIN.fingerprint), "sites": ORIGIN.sites_text}
    )
    vectors = np.random.default_rng(5).standard_normal((60, 8))
    vectors[1::2, 0] += 3.0
    rows = [Row(f"i-{number}", f"text {number}", vector=vectors[number].tolist()) for number in range(60)]
    return kept_run(tmp_path, rows), rows


def label(registry: Path, rows: list[Row], flipped: bool = False) -> None:
    said = [
        Statement(
            content_hash(item(row)),
            row.item_id,
            Label.HARMFUL if (number % 2 == 1) != flipped else Label.BENIGN,
            "ann",
            LabellerKind.REVIEWER,
            "2026-01-01T00:00:00.000+00:00",
        )
        for number, row in enumerate(rows)
    ]
    assert add_statements(FolderStore(registry), said) == len(rows)


def autosteer(*words: object) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


def test_reviewed_rows_of_a_run_become_a_candidate_that_the_gates_let_pass(
    registry: Path, run: tuple[str, list[Row]]
) -> None:
    label(registry, run[1])

    code, told = autosteer("retrain", "--registry", registry, "--run", run[0], "--json")

    assert (code, told["outcome"], told["reasons"]) == (0, "candidate", [])
    assert told["new_labels"] == 60
    state = open_registry(str(registry)).state()
    assert state.stages[told["bundle_id"]] is Stage.CANDIDATE  # type: ignore[index]


def test_with_too_few_labels_cron_hears_that_there_is_nothing_to_do(
    registry: Path, run: tuple[str, list[Row]]
) -> None:
    label(registry, run[1])

    code, told = autosteer("retrain", "--registry", registry, "--run", run[0], "--when-labels", 61, "--json")

    assert (code, told["outcome"], told["bundle_id"]) == (0, "nothing to do", None)


def test_a_run_without_drift_is_no_reason_to_retrain(registry: Path, run: tuple[str, list[Row]]) -> None:
    label(registry, run[1])

    code, told = autosteer("retrain", "--registry", registry, "--run", run[0], "--when-drift", "--json")

    assert (code, told["outcome"]) == (0, "nothing to do")


def test_a_run_that_drifted_is_one_however_few_the_labels_are(registry: Path, run: tuple[str, list[Row]]) -> None:
    label(registry, run[1])
    put_review_table(FolderStore(registry), ReviewTable("r", run[0], run[0], ()))
    drift = {"run_id": "r", "alarm": True, "psi": 0.4, "p": 0.001}
    FolderStore(registry).put("drift/r.json", json.dumps(drift).encode())

    code, told = autosteer("retrain", "--registry", registry, "--when-drift", "--when-labels", 100, "--json")

    assert (code, told["outcome"], told["new_labels"]) == (0, "candidate", 60)


def test_labels_that_harm_are_refused_with_reasons_and_exit_code_1(
    registry: Path, run: tuple[str, list[Row]]
) -> None:
    label(registry, run[1], flipped=True)

    code, told = autosteer("retrain", "--registry", registry, "--run", run[0], "--json")

    assert (code, told["outcome"]) == (1, "refused")
    assert all(str(reason).startswith("E_") for reason in told["reasons"])  # type: ignore[attr-defined]


def test_the_command_of_a_job_says_the_same_without_the_settings_file() -> None:
    settings = load_settings(
        registry="s3://some-bucket/r", seed=3, trusted_keys='["k", "l"]', queue="postgresql://u:p@h/d"
    )

    words = retrain_there(settings, ["s3://b/run"], 20, True, True)

    told = " ".join(words)
    assert told.startswith(
        "autosteer retrain --registry s3://some-bucket/r --run s3://b/run --when-labels 20 --when-drift"
    )
    assert "--set seed=3" in told and '--set trusted_keys=["k", "l"]' in told and "postgres" not in told
