"""How long a new bundle takes from many stored activations, in a process of its own, as the command would."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loop.scale import scaled

pytestmark = [pytest.mark.loop, pytest.mark.timeout(1800)]

ROWS, SECONDS = 100_000, 60
_MEASURED = """
import json, os, sys, time
from pathlib import Path
import torch
from autosteer_core.bundle import to_files
from autosteer_core.retraining import RetrainOptions, retrain
from infra.material_files import material_from_parquet
from tests.loop.many_activations import ORIGIN, WIDTH
from tests.unit.test_retraining import parent_of

torch.set_num_threads(int(sys.argv[2]))
started, cpu = time.perf_counter(), time.process_time()
material = material_from_parquet(Path(sys.argv[1]).read_bytes())
read = time.perf_counter() - started
made = retrain(parent_of(ORIGIN, WIDTH), material, RetrainOptions())
to_files(made)
found = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "read": read}
quality = made.report["probe"][made.report["probe"]["chosen"]]
print(json.dumps(found | {"id": made.bundle_id, "chosen": made.report["probe"]["chosen"], **quality}))
"""


def test_a_hundred_thousand_activations_become_a_bundle_within_a_minute_whatever_the_threads(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    from infra.material_files import material_to_parquet
    from tests.loop.many_activations import many_activations

    file = tmp_path / "material.parquet"
    rows = scaled(ROWS)
    file.write_bytes(material_to_parquet(many_activations(rows)))

    one, two = (_measured(file, threads) for threads in (1, 2))

    report(f"retraining from {rows:,} activations of 4 x 576, seconds", round(one["seconds"], 1))
    report("  of which reading the file", round(one["read"], 1))
    report("  CPU seconds, of one thread", round(one["cpu"], 1))
    report("  AUROC on threshold rows", round(one["auroc"], 4))
    assert one["id"] == two["id"]
    assert one["auroc"] > 0.9
    # One thread does it all, so this is its time on a core of its own; the clock also counts what others do.
    assert one["cpu"] < SECONDS


def _measured(file: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, "-c", _MEASURED, str(file), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
