"""Labels at full size, and imports that are killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autosteer_core.audit_log import breaks
from infra.folder_store import FolderStore
from pipelines.label_lists import label_list
from pipelines.labels import import_labels, read_statements
from tests.kept_runs import kept_run, plain_rows
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
