"""Each guard is switched off in a copy of the program, and then its test must fail: so the test has teeth."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
COPIED = ["autosteer_core", "infra", "pipelines", "workers", "tests", "pyproject.toml"]

QUEUE, COMMIT = "tests/contract/test_part_queue.py::test_", "tests/unit/test_commit.py::test_"
POWER, SCHEDULES = "tests/chaos/test_power_loss.py::test_", "tests/chaos/test_simulation.py"


@dataclass(frozen=True)
class Guard:
    """`on` stands once in `file`; with `off` in its place, `test` must fail."""

    file: str
    on: str
    off: str
    test: str


GUARDS = {
    "the fence of a queue in a file": Guard(
        "infra/sqlite_queue.py",
        " AND token = :token AND worker = :worker AND state = 'leased'",
        "",
        QUEUE + "a_worker_that_slept_past_its_lease_cannot_touch_the_part[sqlite]",
    ),
    "the worker's name in the fence": Guard(
        "infra/sqlite_queue.py",
        " AND worker = :worker",
        "",
        QUEUE + "a_lease_is_void_for_another_worker_with_the_same_token[sqlite]",
    ),
    "the fence, in any order of events": Guard(
        "infra/memory_queue.py",
        '(entry.state, entry.token, entry.worker) != ("leased", lease.token, lease.worker)',
        'entry.state != "leased"',
        SCHEDULES,
    ),
    "the worker's name in the fence, after a lost queue": Guard(
        "infra/memory_queue.py",
        '(entry.state, entry.token, entry.worker) != ("leased", lease.token, lease.worker)',
        '(entry.state, entry.token) != ("leased", lease.token)',
        SCHEDULES,
    ),
    "that a part is committed before it is completed": Guard(
        "workers/loop.py",
        "        return commit_part(self.store, lease, verdicts, data, kept)",
        "        self.patience.through(lambda: self.queue.complete(lease))\n"
        "        return commit_part(self.store, lease, verdicts, data, kept)",
        SCHEDULES,
    ),
    "that a record is put only where there is none": Guard(
        "infra/memory_store.py",
        "            if checked_key(key) in self._blobs:\n                return False\n",
        "",
        SCHEDULES,
    ),
    "that a file of a folder is linked and not moved to its name": Guard(
        "infra/folder_store.py",
        "os.link(temp, path)",
        "os.replace(temp, path)",
        "tests/contract/test_blob_store.py::test_the_first_writer_wins_and_the_others_are_told[folder]",
    ),
    "a name of its own for every attempt": Guard(
        "autosteer_core/commit.py",
        "{lease.token}-{uuid.uuid4().hex[:8]}",
        "{lease.token}",
        SCHEDULES,
    ),
    "one slot for commits and halvings": Guard(
        "autosteer_core/records.py",
        "return _put(store, COMMITS, record)",
        'return _put(store, COMMITS if isinstance(record, CommitRecord) else "splits/", record)',
        SCHEDULES,
    ),
    "that the fate of a part is looked up when it is claimed": Guard(
        "workers/loop.py",
        "known = self.patience.through(lambda: fate(self.store, lease.part))",
        "known = None",
        "tests/unit/test_loop.py::test_a_part_that_is_already_committed_is_completed_without_judging",
    ),
    "that a part which was halved while it was judged is halved in the queue": Guard(
        "workers/loop.py",
        "if not won and isinstance(",
        "if False and isinstance(",
        SCHEDULES,
    ),
    "that an expired lease counts as a crash": Guard(
        "infra/sqlite_queue.py",
        "crash_count = crash_count + (state = 'leased'), ",
        "",
        QUEUE + "an_expired_lease_and_a_reported_death_are_crashes_and_bury_nothing[sqlite]",
    ),
    "that a row is blamed only after several crashes": Guard(
        "workers/isolation.py",
        "_CRASHES_OF_A_ROW = 3",
        "_CRASHES_OF_A_ROW = 1",
        "tests/unit/test_isolation.py::test_a_row_whose_worker_was_killed_once_is_answered",
    ),
    "that a part is committed only with exactly its rows": Guard(
        "autosteer_core/commit.py",
        "if [verdict.row for verdict in verdicts] != list(range(part.start, part.stop)):",
        "if False:",
        COMMIT + "rows_that_are_not_exactly_the_parts_are_refused",
    ),
    "that the ids of the output are compared with the manifest's": Guard(
        "autosteer_core/commit.py",
        "if found != ids:",
        "if False:",
        COMMIT + "a_run_whose_manifest_names_other_items_is_not_sealed",
    ),
    "the SHA-256 of a part": Guard(
        "autosteer_core/commit.py",
        "if hashlib.sha256(data).hexdigest() != stored.sha256:",
        "if False:",
        COMMIT + "a_changed_part_is_noticed",
    ),
    "page checksums in a part": Guard(
        "infra/verdict_files.py",
        "write_page_checksum=True",
        "write_page_checksum=False",
        "tests/unit/test_verdict_files.py::test_a_flipped_bit_in_any_page_is_noticed",
    ),
    "that the bytes of a file are synced before it has its name": Guard(
        "infra/folder_store.py",
        "        os.fsync(file.fileno())\n",
        "",
        POWER + "what_was_put_is_there_after_a_power_loss",
    ),
    "that the name of a file is synced": Guard(
        "infra/folder_store.py",
        "            _sync_folder(folder)\n",
        "            pass\n",
        POWER + "what_was_put_is_there_after_a_power_loss",
    ),
    "that whoever comes second syncs the name too": Guard(
        "infra/folder_store.py",
        "            finally:\n"
        "                # The loser syncs too: it will act on the winner's file, which may not be on "
        "the disk yet.\n",
        "            else:\n",
        POWER + "a_writer_that_is_told_that_another_was_first_can_rely_on_the_others_blob",
    ),
    "that the queue's file is synced": Guard(
        "infra/sqlite_file.py",
        'db.pragma("synchronous", "full")',
        'db.pragma("synchronous", "off")',
        "tests/contract/test_sqlite_file.py::test_every_write_reaches_the_disk_before_it_returns",
    ),
    "that the queue's file is checked when it is opened": Guard(
        "infra/sqlite_file.py",
        'if findings != [("ok",)]:',
        "if False:",
        "tests/contract/test_sqlite_file.py::test_a_damaged_file_is_refused_by_name_and_may_be_deleted",
    ),
    "that no finite risk means no answer": Guard(
        "autosteer_core/verdict_stages.py",
        "if not math.isfinite(risk):",
        "if False:",
        "tests/contract/test_engine.py::test_a_probe_that_gives_nan_never_answers",
    ),
    "that a NaN risk opens the gate": Guard(
        "autosteer_core/probe.py",
        "return ~(risk_N < threshold)",
        "return risk_N >= threshold",
        "tests/unit/test_refusal_head.py::test_a_nan_risk_opens_the_gate",
    ),
    "the grace of what looks like garbage": Guard(
        "autosteer_core/garbage.py",
        " and _age(store, key) >= grace_seconds",
        "",
        "tests/unit/test_garbage.py::test_young_leftovers_stay_because_their_worker_may_be_alive",
    ),
    "that Arrow extension types are refused": Guard(
        "infra/parquet_schema.py",
        "if _has_extension(field):",
        "if False:",
        "tests/unit/test_parquet_manifest.py::test_an_extension_type_is_refused_even_in_a_column_that_is_not_read",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program and its tests, to be changed at will."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "bench"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


MISSED: list[str] = []  # so far


def run_tests(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """In the copy, with enough schedules to meet every guard."""
    # A seed that was named for the simulation would leave it one schedule, and a guard one chance to be missed.
    kept = {name: value for name, value in os.environ.items() if name != "CHAOS_SEED"}
    environment = kept | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CHAOS_SCALE": "0.05"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=500)


def test_with_every_guard_on_all_of_these_tests_pass(copy: Path) -> None:
    done = run_tests(copy, *sorted({guard.test for guard in GUARDS.values()}))

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_that_is_switched_off_is_missed(copy: Path, name: str, report: Callable[[str, object], None]) -> None:
    guard = GUARDS[name]
    file = copy / guard.file
    program = file.read_text()
    assert program.count(guard.on) == 1, f"{guard.file} has no such guard any more: {guard.on}"

    file.write_text(program.replace(guard.on, guard.off))
    try:
        done = run_tests(copy, guard.test)
    finally:
        file.write_text(program)

    assert done.returncode == 1 and " failed" in done.stdout, done.stdout
    assert not any(slip in done.stdout for slip in ("SyntaxError", "NameError", "ImportError")), done.stdout
    MISSED.append(name)
    report("guards switched off and missed by their tests", f"{len(MISSED)} of {len(GUARDS)}")
