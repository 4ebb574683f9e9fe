"""Where measured numbers go: `results/<card>.json`, and the same as a Markdown table beside it."""

import json
import os
import platform
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The card, or the processors where there is none: part of the file's name, because numbers belong to both."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0).lower().replace(" ", "-")
    return f"{platform.machine()}-{os.cpu_count()}-cpus"


def record(name: str, value: float, meaning: str) -> None:
    """Say it, and put it in the place of what was measured here before."""
    print(f"{name}: {value:.4g}  ({meaning})")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{machine()}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known[name] = {"value": float(f"{value:.4g}"), "meaning": meaning}
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    file.with_suffix(".md").write_text(_table(known))


def _table(known: dict[str, dict[str, object]]) -> str:
    rows = [f"| {name} | {entry['value']} | {entry['meaning']} |" for name, entry in sorted(known.items())]
    return "\n".join([f"# {machine()}", "", "| number | value | meaning |", "|---|---|---|", *rows, ""])
