"""A folder with a model, a bundle that fits it and a manifest, and the real command run in it."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.bundle_files import save_bundle
from pipelines.engines import load_backbone
from pipelines.settings import load_settings
from pipelines.signing import signer_of
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import save_tiny_model


@dataclass(frozen=True)
class Workspace:
    """Paths of one set of inputs; commands run with it as their current folder."""

    root: Path

    def command(self, *arguments: str) -> list[str]:
        """The installed command line, as a person would call it."""
        return [str(Path(sys.executable).with_name("autosteer")), *arguments]

    def generate(self, out: str, manifest: str = "items.parquet", *more: str) -> list[str]:
        """Small parts, so that a run has many of them."""
        settings = ["--set", "rows_per_part=8", "--set", "max_new_tokens=12", "--set", "lease_seconds=20"]
        return self.command(
            "generate", manifest, "--out", out, "--bundle", "bundle", "--model", "model", *settings, *more
        )

    def run(self, command: list[str], seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """Run to the end, keep what it printed."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=seconds
        )

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """Run in a process group of its own, as a terminal would."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """No setting of the person who runs the tests reaches the command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTOSTEER_")}
        return kept | {"HF_HUB_OFFLINE": "1"}

    def commits(self, out: str) -> int:
        """Parts that are committed so far."""
        return len(list((self.root / out / "commits").glob("*.json")))

    def rows(self, out: str) -> list[dict[str, Any]]:
        """All rows, read as a stranger would: the list of parts, then plain pyarrow."""
        parts = json.loads((self.root / out / "dataset.json").read_text())["parts"]
        return [row for part in parts for row in pq.read_table(self.root / out / part["key"]).to_pylist()]

    def assert_every_item_has_one_row(self, out: str, manifest: str = "items.parquet") -> None:
        """No item is lost, doubled or invented."""
        wanted = pq.read_table(self.root / manifest, columns=["id"]).column("id").to_pylist()
        assert Counter(row["item_id"] for row in self.rows(out)) == Counter(wanted)
        assert (self.root / out / "_SUCCESS").exists()


def make_workspace(root: Path, rows: int) -> Workspace:
    """Every third item has a picture, every fiftieth a broken one."""
    save_tiny_model(root / "model")
    backbone = load_backbone(load_settings(model=str(root / "model")))
    save_bundle(tiny_bundle(backbone), str(root / "bundle"), signer_of(load_settings()))
    pictures = [b"broken" if row % 50 == 7 else png() if row % 3 == 0 else None for row in range(rows)]
    table = pa.table(
        {
            "id": [f"item-{row:04d}" for row in range(rows)],
            "text": [f"how do I make cake number {row}" for row in range(rows)],
            "image": pa.array(pictures, pa.binary()),
            "label": ["harmful" if row % 2 else "benign" for row in range(rows)],
            "group": ["text"] * rows,
        }
    )
    pq.write_table(table, root / "items.parquet")
    return Workspace(root)
