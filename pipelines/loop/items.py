"""The items of the demonstration: a kind of harm that calibration never shows, half to label, half to measure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.demo.manifest import DemoItem, read_items, stable_number, write_manifest

LABELLED, HELD_OUT = "labelled", "held-out"


@dataclass(frozen=True, slots=True)
class LoopFiles:
    """Manifests: to calibrate on, to run first, and to run while a bundle is promoted."""

    calibration: Path
    first: Path
    second: Path


def new_harm(split: str) -> list[DemoItem]:
    """Harmful items of the new kind and their benign twins; no first line of a pair occurs in both splits."""
    return [item for item in read_items("new_harm") if item.split == split]


def known(split: str) -> list[DemoItem]:
    """The demo's texts, and of its pairs with pictures every second: all of them would take minutes longer.

    A pair that shows what another shows is left out: one of the two could be in the holdout, and the other not.
    """
    items = [item for item in read_items(split) if item.picture is None or _is_chosen(item)]
    shown = Counter(_shown(item) for item in items)
    repeated = {item.pair for item in items if shown[_shown(item)] > 1} - {None}
    return [item for item in items if item.pair not in repeated]


def _is_chosen(item: DemoItem) -> bool:
    return item.pair is not None and stable_number(item.pair) % 2 == 0


def _shown(item: DemoItem) -> tuple[str, str]:
    """As far as the item's author knows: style and font follow from the pair."""
    return item.text, str(item.picture)


def write_loop_files(folder: Path) -> LoopFiles:
    """The same items give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = LoopFiles(*(folder / f"{name}.parquet" for name in ("calibration", "first", "second")))
    write_manifest(known("calibration"), files.calibration)
    write_manifest(new_harm(LABELLED), files.first)
    write_manifest(mixed(new_harm(HELD_OUT), known("run")), files.second)
    return files


def mixed(some: Sequence[DemoItem], others: Sequence[DemoItem]) -> list[DemoItem]:
    """Both evenly over the manifest, so that every part has some of each."""
    placed = [((at + 0.5) / len(group), item) for group in (some, others) for at, item in enumerate(group)]
    return [item for _, item in sorted(placed, key=lambda each: each[0])]
