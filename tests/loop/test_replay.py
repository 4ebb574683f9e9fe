"""How fast kept activations are read again, and how near that comes to what the model's own run said, in numbers."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autosteer_core.bundle import Bundle
from autosteer_core.engine import EngineOptions
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.replay import rescore
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item, Modality, Pooling, Site, Verdict
from infra.activation_files import activations_to_parquet
from infra.activation_table import activation_table
from pipelines.demo.manifest import write_demo_manifests
from pipelines.engines import load_backbone
from pipelines.reading import open_items
from pipelines.replay import replay
from pipelines.settings import load_settings
from pipelines.wiring import all_items
from tests.kept_run import KeptRun, bundle
from tests.loop.scale import SEED, scaled

pytestmark = [pytest.mark.loop, pytest.mark.timeout(600)]

Report = Callable[[str, object], None]
WIDTH, HIDDEN, CORES = 4 * 576, 64, 2
ROWS, TIMES = scaled(40_000), 5


def test_two_hundred_thousand_rows_a_second_are_read_again(tmp_path: Path, report: Report) -> None:
    """Files of a run in a folder, digests compared, four sites of 576; five times over, so 200,000 rows in all.

    What is promised is for two cores that have nothing else to do: processor time says that on a busy machine too.
    """
    first = bundle(SEED, width=WIDTH, hidden=HIDDEN)
    run = KeptRun(tmp_path, rows=ROWS, per_part=4_000, first=first, width=WIDTH)
    size = sum(len(run.store.get(key)) for key in run.store.keys("activations/"))
    noise = torch.randn(HIDDEN, WIDTH, generator=torch.Generator().manual_seed(SEED))
    other = replace(first, probe=replace(first.probe, inner_weight=first.probe.inner_weight + 0.05 * noise))
    replay([run.out], other)  # the files are in memory from here on, and torch is awake

    wall, processor = time.monotonic(), time.process_time()
    found = replay([run.out] * TIMES, other)
    wall, processor = time.monotonic() - wall, time.process_time() - processor

    report("replay: bytes kept a row (d = 4 x 576)", round(size / found.read * TIMES))
    report("replay: rows", f"{found.read:,}, of which {len(found.flips):,} flip")
    report("replay: rows a second, by the clock on this machine", f"{found.read / wall:,.0f}")
    report("replay: rows a second of processor time, times two cores", f"{CORES * found.read / processor:,.0f}")
    assert found.read == TIMES * (ROWS - 1)
    assert CORES * found.read / processor >= 200_000 or ROWS < 40_000
    # float16 may carry a row over the threshold that lies as near to it as its rounding.
    same = replay([run.out], first).flips
    assert all(abs((flip.risk_before or 0) - first.threshold(Modality(flip.modality))) < 2e-3 for flip in same)


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[Verdict]]:
    """Items of the demo's run, texts and pictures, read by the demo model, with a probe over four of its layers."""
    manifest = write_demo_manifests(tmp_path_factory.mktemp("manifests")).run
    items: list[Item] = all_items(open_items(str(manifest)))[:: max(1, 640 // scaled(64))]
    backbone = load_backbone(load_settings())
    width = backbone.model.config.get_text_config().hidden_size
    sites = tuple(Site(layer, Pooling.LAST) for layer in (8, 14, 20, 26))
    made = bundle(SEED, width=len(sites) * width, hidden=HIDDEN)
    head = RefusalHead(torch.randn(width, 4), torch.randn(width, 4), epsilon=0.1)
    made = replace(made, fingerprint=backbone.fingerprint, sites=sites, head=head)
    options = EngineOptions(batch_rows=8, max_new_tokens=4, activations=True)
    read = StaticEngine(backbone, made, options).audit(items)
    vectors = activation_table(_file(read, made)).activation_ND
    fitted = replace(made, probe=_centred(made.probe, torch.from_numpy(vectors).float()))
    return fitted, StaticEngine(backbone, fitted, options).audit(items)


def _centred(probe: Probe, activation_ND: torch.Tensor) -> Probe:
    """As a fitted probe is: standardised by what it reads, half of all gates open, logits of some units."""
    made = replace(probe, mean=activation_ND.mean(0), scale=activation_ND.std(0) + 1e-3)
    logit_N = made.logit(activation_ND)
    steepness = probe.temperature * logit_N.std() / 3
    return replace(made, outer_bias=probe.outer_bias - logit_N.median() * probe.temperature, temperature=steepness)


def _file(rows: list[Verdict], made: Bundle) -> bytes:
    origin = {"model_fingerprint": str(made.fingerprint), "sites": ", ".join(map(str, made.sites))}
    data = activations_to_parquet(rows, origin)
    assert data is not None
    return data


def test_a_replay_says_what_the_demo_models_own_run_said(
    demo_run: tuple[Bundle, list[Verdict]], report: Report
) -> None:
    """The control: another bundle does not say it."""
    made, rows = demo_run
    table = activation_table(_file(rows, made))
    said = {row.row: row for row in rows}
    risk_N = np.array([said[row].risk for row in table.row_N])

    again_N, gate_N = rescore(made, table.activation_ND, table.modality_N)
    other_N, _ = rescore(
        replace(made, probe=bundle(SEED + 1, width=len(made.probe.mean)).probe), table.activation_ND, table.modality_N
    )

    apart = np.abs(again_N - risk_N)
    differing = [row for row, gate in zip(table.row_N, gate_N, strict=True) if gate != said[row].gate_open]
    report(
        "replay: rows of the demo model, of each kind", {str(k): int((table.modality_N == k).sum()) for k in Modality}
    )
    report("replay: risk of the run and of the replay differ by at most", f"{apart.max():.1e}")
    report("replay: gates that differ for the same bundle", len(differing))
    assert len(risk_N) == len(rows) and 0.1 < (risk_N > 0.5).mean() < 0.9
    assert apart.max() < 5e-3
    assert all(abs(said[row].risk - said[row].threshold) < 5e-3 for row in differing)
    assert np.abs(other_N - risk_N).max() > 0.1
