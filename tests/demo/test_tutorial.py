"""The tutorial's files and commands work as they stand there, in order, in an empty folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.demo, pytest.mark.tour, pytest.mark.timeout(3600)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```(toml|bash)\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL)


def test_every_step_of_the_tutorial_works(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOSTEER_")}
    threads = {name: str(os.cpu_count()) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    for kind, text in BLOCKS:
        if kind == "toml":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env=environment | threads | {"PATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr[-2000:]}"

    card = json.loads((tmp_path / "bundles/first/card.json").read_text())
    assert {"guarantee", "fingerprint", "report"} <= card.keys()
    assert {"layer_choice", "probe", "gate_actions"} <= card["report"].keys()
    assert (tmp_path / "runs/first/_SUCCESS").exists()
    assert (tmp_path / "runs/evaluation/evaluation.html").exists()
