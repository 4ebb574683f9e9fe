"""Two hundred swaps in a minute while workers generate: no row and no part is of two bundles, and nobody waits."""

import signal
import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import pytest

from pipelines.verify import verify
from tests.loop.scale import scaled
from tests.loop.swap_herd import Herd, Site, start_promoter
from tests.loop.swap_notes import noted
from tests.loop.swap_workspace import Alone, Swaps, make_swaps

pytestmark = [pytest.mark.loop, pytest.mark.ray, pytest.mark.timeout(1800)]

SECONDS, PAUSE, SWAPS, ROWS = 60, 0.25, 200, 40_000
OUT = "run"


@pytest.fixture(scope="module", params=["processes", "ray"])
def swapped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swaps]:
    """A run under which bundles were promoted from its first commits on, and which was stopped after the last."""
    swaps = make_swaps(tmp_path_factory.mktemp("swaps"), scaled(ROWS))
    if request.param == "ray":
        _on_ray(swaps)
    else:
        _in_processes(swaps)
    yield swaps


def _in_processes(swaps: Swaps) -> None:
    herd = Herd(Site(swaps.root, OUT).planned())
    try:
        assert herd.tend_until(lambda: swaps.commits(OUT) >= 8)
        promoter = start_promoter(herd.site, [*swaps.bundles[1:], swaps.bundles[0]], scaled(SECONDS), PAUSE)
        herd.tend_until(lambda: not promoter.is_alive())
        assert herd.unfinished, "the run ended before the swaps: more rows are needed"
        assert herd.deaths == 0
    finally:
        herd.end()


def _on_ray(swaps: Swaps) -> None:
    driver = swaps.drive(OUT)
    try:
        _wait_for_work(swaps, driver)
        promoter = swaps.promote(scaled(SECONDS), PAUSE)
        assert promoter.wait() == 0, swaps.log()
        assert driver.poll() is None, f"the run ended before the swaps: more rows are needed\n{swaps.log()}"
        driver.send_signal(signal.SIGINT)
        assert driver.wait() == 0, swaps.log()
    finally:
        driver.kill()


def _wait_for_work(swaps: Swaps, driver: Any) -> None:
    while driver.poll() is None and swaps.commits(OUT) < 8:
        time.sleep(0.1)


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else values[0]


def test_there_were_enough_swaps_and_every_worker_had_each_within_two_seconds(
    swapped: Swaps, report: Callable[[str, object], None]
) -> None:
    promotions = swapped.promotions()
    lags, swaps = [], []
    for lines in noted(swapped.notes).values():
        served = [line for line in lines if line["step"] == "serve"]
        swaps.append(len({line["epoch"] for line in served}) - 1)
        for promotion in promotions:
            later = [line["begun"] + line["seconds"] for line in served if line["epoch"] >= promotion["epoch"]]
            assert later, f"epoch {promotion['epoch']} never reached a worker"
            lags.append(min(later) - promotion["at"])
    report("swaps while working, each worker", f"{swaps} in {scaled(SECONDS)} s, {len(promotions)} promotions")
    report("until all workers serve it", f"p50 {sorted(lags)[len(lags) // 2]:.3f} s, largest {max(lags):.3f} s")

    assert len(swaps) == 2
    assert min(swaps) >= scaled(SWAPS)
    assert max(lags) <= 2.0


def test_nobody_waits_for_a_swap(swapped: Swaps, report: Callable[[str, object], None]) -> None:
    """What a swap can take from the thread that judges: its waits at the shelf, and all that the other one computes.

    The second counts whole, as if there were one core and no step of the model in between. How long a step takes by
    the clock says more of what else this machine does.
    """
    waits, beside, gaps = [], [], []
    for lines in noted(swapped.notes).values():
        waits += [line["seconds"] for line in lines if line["step"] in ("pin", "let_go")]
        offers, serves = ([line["cpu"] for line in lines if line["step"] == step] for step in ("offer", "serve"))
        beside += [sum(pair) for pair in zip(offers, serves, strict=False)]
        gaps += [end - begin for line in lines if line["step"] == "serve" for begin, end in line["gaps"]]
    report("a claim waits at the shelf", f"p99 {1e3 * p99(waits):.2f} ms of {len(waits)}")
    report("a swap computes beside the work", f"p99 {1e3 * p99(beside):.1f} ms of {len(beside)}")
    report("between two pulses, swaps or not", f"p99 {1e3 * p99(gaps):.1f} ms of {len(gaps)}")

    assert p99(waits) + p99(beside) <= 0.05


def test_every_part_and_row_is_of_one_bundle_and_is_what_that_bundle_says_of_it_alone(
    swapped: Swaps, report: Callable[[str, object], None]
) -> None:
    alone, rows, mixed_parts, mixed_rows, mistaken, seen = Alone.of(swapped), 0, 0, 0, 0, set()
    for record, found in swapped.parts(OUT):
        mixed_parts += {row["bundle_id"] for row in found} != {record.bundle_id}
        for row in found:
            rows += 1
            seen.add(row["bundle_id"])
            mixed_rows += alone.differs(row, row["bundle_id"])
        other = next(each for each in alone.engines if each != found[0]["bundle_id"])
        mistaken += alone.differs(found[0], other)  # the control: another bundle would have been noticed
    parts = sum(1 for _ in swapped.parts(OUT))
    report("mixed parts, mixed rows", f"{mixed_parts} of {parts}, {mixed_rows} of {rows} recomputed at batch 1")

    assert (mixed_parts, mixed_rows) == (0, 0)
    assert seen == set(map(str, swapped.bundles))
    assert mistaken > 0.9 * parts


def test_the_output_is_sound(swapped: Swaps) -> None:
    found = verify(str(swapped.root / OUT), str(swapped.root / "items.parquet"))

    assert found.violations == []
    assert found.parts == swapped.commits(OUT)
