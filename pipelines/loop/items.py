"""The items of the demonstration: a kind of harm that calibration never shows, half to label, half to measure."""

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
    """The demo's texts, and of its pairs with pictures every second: all of them would take minutes longer."""
    return [item for item in read_items(split) if item.picture is None or _is_chosen(item)]


def _is_chosen(item: DemoItem) -> bool:
    return item.pair is not None and stable_number(item.pair) % 2 == 0


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
