"""A process that promotes one bundle after the other, round and round, and notes each with its time."""

import itertools
import json
import sys
import time
from pathlib import Path

from autosteer_core.values import BundleId
from pipelines.registry_files import open_registry


def main(registry: str, notes: Path, seconds: float, pause: float, bundles: list[str]) -> None:
    """For so long, with so long between the beginnings of two promotions."""
    opened, begun = open_registry(registry), time.monotonic()
    with notes.open("a") as file:
        for number in itertools.count():
            if time.monotonic() - begun >= seconds:
                return
            state = opened.promote(BundleId(bundles[number % len(bundles)]), "the next one", "tests")
            file.write(json.dumps({"at": time.time(), "epoch": state.epoch, "promoted": state.serving}) + "\n")
            file.flush()
            time.sleep(max(0.0, begun + (number + 1) * pause - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
