"""Labels at full size, and imports that are killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autosteer_core.audit_log import breaks
from autosteer_core.kept_activations import content_hash
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.values import Label
from infra.folder_store import FolderStore
from pipelines.label_lists import label_list
from pipelines.labelled_activations import labelled_rows
from pipelines.labels import add_statements, import_labels, read_statements
from tests.kept_runs import item, kept_run, plain_rows
from tests.loop.scale import scaled

pytestmark = pytest.mark.loop


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def table(folder: Path, content: str) -> str:
    path = folder / "labels.csv"
    path.write_text(content)
    return str(path)


def test_an_import_that_is_killed_adds_all_or_nothing(tmp_path: Path, registry: str) -> None:
    """SIGKILL at many moments of the real import; then the same import once more."""
    rows = plain_rows(60)
    out = kept_run(tmp_path, rows, rows_per_part=30)
    file = table(tmp_path, "item_id,label\n" + "".join(f"{row.item_id},harmful\n" for row in rows))
    program = (
        "import sys; from pipelines.labels import import_labels; print('ready', flush=True); sys.stdin.readline(); "
        f"import_labels({file!r}, {registry!r}, 'one', [{out!r}])"
    )
    found = set()
    for step in range(scaled(20)):
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.06 * step)
        process.kill()
        process.communicate()
        found.add(len(read_statements(FolderStore(Path(registry)))))
    import_labels(file, registry, "one", [out])

    assert found <= {0, 60}
    assert len(read_statements(FolderStore(Path(registry)))) == 60
    assert not list(breaks(FolderStore(Path(registry))))


def test_labels_of_many_rows_are_read_in_seconds(
    tmp_path: Path, registry: str, report: Callable[[str, object], None]
) -> None:
    ids = [f"{number:064x}" for number in range(scaled(100_000))]
    file = table(tmp_path, "content,label\n" + "".join(f"{content},harmful\n" for content in ids))
    start = time.monotonic()

    assert import_labels(file, registry, "one").added == len(ids)

    report("labels imported, rows a second", f"{len(ids) / (time.monotonic() - start):,.0f}")
    assert label_list(registry).as_json()["statements"] == len(ids)


def test_a_hundred_thousand_labelled_activations_are_joined_in_seconds(
    tmp_path: Path, registry: str, report: Callable[[str, object], None]
) -> None:
    """Of four sites of 576 numbers each, as the demo's model has them."""
    rows, width, template = scaled(100_000), 4 * 576, plain_rows(1, width=4 * 576)[0]
    numbers = np.random.default_rng(0).standard_normal((1_000, width), np.float32)
    items = [
        replace(template, item_id=f"item-{row}", text=f"question {row}", vector=numbers[row % 1_000])  # type: ignore[arg-type]
        for row in range(rows)
    ]
    out = kept_run(tmp_path, items, rows_per_part=512)
    said = [
        Statement(content_hash(item(row)), row.item_id, Label.HARMFUL, "ana", LabellerKind.REVIEWER, "2026-01-01")
        for row in items
    ]
    assert add_statements(FolderStore(Path(registry)), said) == rows
    start, used = time.monotonic(), time.process_time()

    found = labelled_rows(FolderStore(Path(registry)), [out])

    seconds, used = time.monotonic() - start, time.process_time() - used
    assert len(found) == rows and found.activation_ND.shape == (rows, width)
    report("labelled activations joined", f"{rows:,} in {seconds:.1f} s, {used:.1f} s of them a core's")
    assert used < 30  # a core's time: how long it takes says more of the machine
