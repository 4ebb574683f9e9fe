"""`autosteer evaluate` on a tiny model: every control, killed in the middle, continued, and told the same twice."""

import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.engine import EngineOptions
from autosteer_core.static_engine import StaticEngine
from pipelines.bundle_files import save_bundle
from pipelines.engines import load_backbone
from pipelines.reading import open_items
from pipelines.settings import load_settings
from pipelines.signing import signer_of
from pipelines.wiring import all_items
from tests.tiny_bundle import tiny_bundle
from tests.tiny_suite import ROWS_PER_SET, words, write_tiny_suite
from tests.unit.test_model_judges import save_classifier
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.tour, pytest.mark.timeout(900)]

SAMPLE, HARMFUL = 10, ROWS_PER_SET - 1  # calibration has seen one harmful row


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A bundle whose gate opens for half of the rows, its control inside it, and a baseline that steers otherwise."""
    made = make_workspace(tmp_path_factory.mktemp("evaluate"), 12)
    root = made.root
    suite = write_tiny_suite(root / "suite.parquet")
    backbone = load_backbone(load_settings(model=str(root / "model")))
    risks = StaticEngine(backbone, tiny_bundle(backbone), EngineOptions()).audit(all_items(open_items(str(suite))))
    threshold = median(row.risk for row in risks)
    bundle, signer = tiny_bundle(backbone, threshold), signer_of(load_settings())
    save_bundle(bundle, str(root / "half"), signer)
    save_bundle(tiny_bundle(backbone, threshold, layer=3), str(root / "half/controls/random-layer"), signer)
    save_bundle(replace(bundle, head=replace(bundle.head, epsilon=0.05)), str(root / "weak"), signer)
    save_classifier(root / "judge", ["safe", "unsafe"])
    texts = [words(f"seen/{number}") for number in range(30)] + [words("harm/0")]
    labels = ["harmful" if number % 2 else "benign" for number in range(31)]
    table = pa.table({"id": [str(number) for number in range(31)], "text": texts, "label": labels})
    pq.write_table(table, root / "seen.parquet")
    return made


def command(workspace: Workspace, out: str, *more: str) -> list[str]:
    settings = ["max_new_tokens=6", "rows_per_part=16", "lease_seconds=20"]
    return workspace.command(
        "evaluate", "suite.parquet", "--bundle", "half", "--model", "model", "--out", out, "--baseline", "weak=weak",
        "--judge", "judge", "--calibrated-on", "seen.parquet", "--sample", str(SAMPLE), "--sweep", "8",
        "--workers", "1", "--json",
        *[word for setting in settings for word in ("--set", setting)], *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(workspace: Workspace) -> dict[str, Any]:
    """Killed without warning in the middle of its second run, then repeated."""
    killed = workspace.start(command(workspace, "out"))
    deadline = time.monotonic() + 400
    try:
        while workspace.commits("out/generate/paired") < 1:
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        killed.kill()
        killed.communicate()
    audited = {path: path.stat().st_mtime_ns for path in Path(workspace.root, "out/audit").rglob("*.parquet")}
    assert audited

    finished = workspace.run(command(workspace, "out"), seconds=600)

    assert finished.returncode == 0, finished.stderr
    assert all(path.stat().st_mtime_ns == written for path, written in audited.items()), "a finished run was repeated"
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def cells(found: dict[str, Any], table: str, metric: str, name: str) -> dict[str, Any]:
    [line] = [line for line in found[table] if (line["metric"], line["set"]) == (metric, name)]
    return dict(line["cells"])


def test_every_condition_and_control_has_a_column(found: dict[str, Any]) -> None:
    attacks = cells(found, "table", "attack success", "harm")
    risks = cells(found, "detection", "AUROC, against benign rows", "harm")

    assert list(attacks) == ["no steering", "always steered", "gated", "canned", "random-layer", "weak"]
    assert list(risks) == ["gated", "random-layer", "weak", "n-gram text"]


def test_rates_rest_on_the_rows_they_should(found: dict[str, Any]) -> None:
    attacks = cells(found, "table", "attack success", "harm")
    added = cells(found, "table", "refusals added", "plain")

    assert (attacks["gated"]["trials"], attacks["no steering"]["trials"]) == (HARMFUL, SAMPLE)
    assert (added["gated"]["trials"], added["always steered"]["trials"]) == (ROWS_PER_SET, SAMPLE)
    assert cells(found, "table", "accuracy", "quiz")["gated"]["trials"] == SAMPLE
    assert cells(found, "detection", "gate opened", "alarming")["gated"]["trials"] == ROWS_PER_SET


def test_a_row_that_calibration_has_seen_is_dropped_and_counted(found: dict[str, Any]) -> None:
    assert found["leakage"]["harm"] == {"rows": ROWS_PER_SET, "leaked": 1, "exact text": 1}
    assert found["rows"] == 4 * ROWS_PER_SET - 1


def test_a_canned_refusal_fails_exactly_where_the_gate_misses_and_the_model_answers(found: dict[str, Any]) -> None:
    missed = cells(found, "detection", "missed by the gate", "harm")["gated"]["events"]

    assert 0 < missed < HARMFUL
    assert cells(found, "table", "attack success", "harm")["canned"]["events"] <= missed


def test_the_model_judge_is_counted_beside_the_keywords(found: dict[str, Any]) -> None:
    judged = cells(found, "table", "attack success by judge", "harm")
    [counts] = [line for line in found["judges"] if (line["condition"], line["kind"]) == ("gated", "harmful")]

    assert judged["gated"]["trials"] == HARMFUL
    assert counts["judge_disagrees"]["judge"]["trials"] == counts["answers"] == HARMFUL


def test_the_sweep_runs_from_no_edit_to_a_strong_one(found: dict[str, Any]) -> None:
    points = found["epsilon_sweep"]

    assert [point["epsilon"] for point in points] == [0, 0.05, 0.1, 0.2, 0.4]
    assert points[0]["changed"]["events"] == 0 < points[-1]["changed"]["events"]


def test_repeating_it_changes_nothing(workspace: Workspace, found: dict[str, Any]) -> None:
    files = ["evaluation.json", "evaluation.html"]
    before = [(workspace.root / "out" / name).read_bytes() for name in files]

    repeated = workspace.run(command(workspace, "out"), seconds=600)

    assert json.loads(repeated.stdout) == found
    assert [(workspace.root / "out" / name).read_bytes() for name in files] == before


def test_the_page_holds_its_pictures_and_no_script(workspace: Workspace, found: dict[str, Any]) -> None:
    page = (workspace.root / "out" / "evaluation.html").read_text()

    assert page.count('src="data:image/svg+xml;base64,') == 5
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_another_bundle_needs_another_output(workspace: Workspace, found: dict[str, Any]) -> None:
    refused = workspace.run(command(workspace, "out", "--bundle", "weak"))

    assert refused.returncode == 2
    assert "holds another run" in refused.stderr
