"""Workers, swappers and writers of the registry are killed at each step of a swap: nothing is lost, nothing mixed."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from autosteer_core.audit_log import breaks
from autosteer_core.records import read_records
from infra.open_store import open_store
from pipelines.registry_files import open_registry
from pipelines.verify import verify
from tests.loop.scale import SEED, scaled
from tests.loop.swap_herd import Herd, Site, start_promoter
from tests.loop.swap_notes import SWAPPER_STEPS, WORKER_STEPS, noted
from tests.loop.swap_workspace import Alone, Swaps, make_swaps

pytestmark = [pytest.mark.loop, pytest.mark.timeout(1800)]

STEPS, ROUNDS, ROWS = WORKER_STEPS + SWAPPER_STEPS, 2, 20_000
OUT = "run"


@dataclass
class Killed:
    """A run, and who died on the way; `converged` is how long the last promotion took to reach all workers.

    `begun` are the parts that anybody claimed before the last death, none of which may be missing.
    """

    swaps: Swaps
    begun: list[str]
    workers: int
    writers: int
    converged: float


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Whoever swaps dies at each step, the writer of the registry at any moment, and the run goes on."""
    swaps, random_ = make_swaps(tmp_path_factory.mktemp("kills"), scaled(ROWS)), random.Random(SEED)
    herd, others, writers = Herd(Site(swaps.root, OUT).planned()), [*swaps.bundles[1:], swaps.bundles[0]], 0
    try:
        assert herd.tend_until(lambda: swaps.commits(OUT) >= 4)
        for step in STEPS * scaled(ROUNDS):
            promoter = start_promoter(herd.site, others, 120.0, 0.05)
            died = _dies_at(step, swaps, herd)
            time.sleep(random_.uniform(0, 0.1))
            promoter.kill()
            promoter.join()
            writers += promoter.exitcode == -signal.SIGKILL
            assert died, f"nobody came to the step {step}, {herd.unfinished} parts are left"
        converged = _converged(swaps, herd)
        begun = _begun(swaps, herd)
        assert herd.tend_until(lambda: _committed(swaps) >= set(begun), 120.0)
    finally:
        herd.end()
    return Killed(swaps, begun, herd.deaths, writers, converged)


def _begun(swaps: Swaps, herd: Herd) -> list[str]:
    """Parts are claimed in order, so beyond the last that is committed there are few."""
    parts = [str(part.part_id) for part in herd.site.run.parts(8)]
    last = max(place for place, part_id in enumerate(parts) if part_id in _committed(swaps))
    return [part_id for part_id in parts[: last + 50] if herd.claims(part_id)]


def _committed(swaps: Swaps) -> set[str]:
    """Without those that were halved, because their workers died: their pieces are checked by `verify`."""
    known = read_records(open_store(str(swaps.root / OUT)))
    return known.commits.keys() | known.splits.keys()


def _dies_at(step: str, swaps: Swaps, herd: Herd) -> bool:
    order = Path(swaps.notes, f"kill-{step}")
    order.touch()
    return herd.tend_until(lambda: not order.exists(), 120.0)


def _converged(swaps: Swaps, herd: Herd) -> float:
    """Seconds until every worker that lives serves what was promoted last, those that are being born among them."""
    epoch, begun = open_registry(str(swaps.root / "registry")).state().epoch, time.monotonic()

    def all_serve() -> bool:
        lines = noted(swaps.notes)
        return len(herd.workers) == herd.size and all(
            any(line["step"] == "serve" and line["epoch"] == epoch for line in lines.get(_notes_of(process), []))
            for process in herd.workers.values()
        )

    assert herd.tend_until(all_serve, 60.0), f"not all workers came to epoch {epoch}"
    return time.monotonic() - begun


def _notes_of(process: BaseProcess) -> str:
    return f"worker-{process.pid}"


def test_they_died_at_every_step_and_nothing_that_was_begun_is_missing(
    killed: Killed, report: Callable[[str, object], None]
) -> None:
    report(
        "killed at each step of a swap", f"{killed.workers} workers at {len(STEPS)} steps, {killed.writers} writers"
    )
    report("until all workers serve the last promotion", f"{killed.converged:.1f} s, starting of processes included")

    assert killed.workers >= len(STEPS) * scaled(ROUNDS)
    assert killed.writers >= len(STEPS) * scaled(ROUNDS)
    found = verify(str(killed.swaps.root / OUT), str(killed.swaps.root / "items.parquet"))
    assert found.violations == []
    assert len(killed.begun) >= killed.workers  # of the parts as they were planned: those of the dead are halved


def test_no_part_and_no_row_is_mixed(killed: Killed, report: Callable[[str, object], None]) -> None:
    alone, rows, mixed_parts, mixed_rows, parts = Alone.of(killed.swaps), 0, 0, 0, 0
    for record, found in killed.swaps.parts(OUT):
        parts += 1
        mixed_parts += {row["bundle_id"] for row in found} != {record.bundle_id}
        for row in found:
            rows += 1
            mixed_rows += alone.differs(row, row["bundle_id"])
    report("mixed parts, mixed rows under kills", f"{mixed_parts} of {parts}, {mixed_rows} of {rows}")

    assert (mixed_parts, mixed_rows) == (0, 0)


def test_the_registry_is_whole(killed: Killed) -> None:
    assert list(breaks(open_store(str(killed.swaps.root / "registry")), None)) == []
