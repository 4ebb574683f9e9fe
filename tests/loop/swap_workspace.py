"""A folder with a model, a registry with several bundles that say other things, and a manifest; and what came out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.commit import read_part
from autosteer_core.engine import EngineOptions
from autosteer_core.golden_rows import with_golden
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.registry import Published
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.values import BundleId, Item
from infra.open_store import open_store
from infra.verdict_rows import whole_rows_from_parquet
from pipelines.engines import load_backbone
from pipelines.registry_files import open_registry
from pipelines.settings import load_settings
from tests.loop.swap_notes import NOTES
from tests.tiny_bundle import WIDTH, tiny_bundle
from tests.tiny_model import save_tiny_model

ROOT = Path(__file__).parents[2]
BUNDLES = 4


@dataclass(frozen=True)
class Swaps:
    """Paths of one set of inputs, and the processes that work on them."""

    root: Path
    bundles: tuple[BundleId, ...]

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    def drive(self, out: str) -> subprocess.Popen[bytes]:
        """The driver of the run, which ends when the run is finished."""
        return self._start("tests.loop.swap_run", str(self.root), out)

    def promote(self, seconds: float, pause: float) -> subprocess.Popen[bytes]:
        """Somebody who promotes one bundle after another."""
        arguments = [str(self.root / "registry"), str(self.root / "promotions.jsonl"), str(seconds), str(pause)]
        return self._start("tests.loop.promoter", *arguments, *self.bundles[1:], self.bundles[0])

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), NOTES: str(self.notes)}
        with (self.root / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def commits(self, out: str) -> int:
        """Parts that are committed so far."""
        return len(list((self.root / out / "commits").glob("*.json")))

    def log(self) -> str:
        """What the processes said, the end of it."""
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.root.glob("*.log")))

    def promotions(self) -> list[dict[str, Any]]:
        """In order."""
        return [json.loads(line) for line in (self.root / "promotions.jsonl").read_text().splitlines()]

    def parts(self, out: str) -> Iterator[tuple[CommitRecord, list[dict[str, Any]]]]:
        """Every part that counts, with its rows."""
        store = open_store(str(self.root / out))
        for record in read_records(store).current:
            yield record, list(whole_rows_from_parquet(read_part(store, record)))


def make_swaps(root: Path, rows: int) -> Swaps:
    """The first of the bundles is promoted; no two rows have the same text."""
    save_tiny_model(root / "model")
    (root / "notes").mkdir()
    backbone = load_backbone(load_settings(model=str(root / "model")))
    registry = open_registry(str(root / "registry"))
    ids = [
        registry.publish(to_files(bundle), Published())
        for bundle in (_version(tiny_bundle(backbone), seed) for seed in range(BUNDLES))
    ]
    registry.promote(ids[0], "the first", "tests")
    names = [f"item-{row:05d}" for row in range(rows)]
    table = pa.table({"id": names, "text": [_text(row) for row in range(rows)]})
    pq.write_table(table, root / "items.parquet")
    return Swaps(root, tuple(ids))


def _text(row: int) -> str:
    return f"how do I make cake number {row}"


def _version(bundle: Bundle, seed: int) -> Bundle:
    """Another probe and another head."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(bundle.probe.inner_weight.shape, generator=generator)
    down, up = (torch.randn(WIDTH, 4, generator=generator) for _ in range(2))
    probe = replace(bundle.probe, inner_weight=weight)
    return with_golden(replace(bundle, probe=probe, head=RefusalHead(down, up, 0.1), report={"seed": seed}))


@dataclass(frozen=True)
class Alone:
    """What each bundle says of a row by itself, at batch 1, with nobody beside it."""

    engines: dict[str, SlotEngine]

    @classmethod
    def of(cls, swaps: Swaps) -> "Alone":
        backbone = load_backbone(load_settings(model=str(swaps.root / "model")))
        registry, options = open_registry(str(swaps.root / "registry")), EngineOptions(max_new_tokens=4, slots=1)
        bundles = {name: from_files(registry.files(name)) for name in swaps.bundles}
        return cls({str(name): SlotEngine(backbone, bundle, options) for name, bundle in bundles.items()})

    def differs(self, row: dict[str, Any], bundle_id: str) -> bool:
        """Whether the row is not what this bundle says of it."""
        (verdict,) = self.engines[bundle_id].generate([Item(row["item_id"], _text(row["row"]), row=row["row"])])
        same = abs(verdict.risk - row["risk"]) < 1e-4
        return not (same and (verdict.action, verdict.answer) == (row["action"], row["answer"]))
