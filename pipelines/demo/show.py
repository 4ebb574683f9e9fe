"""The main job end to end on this machine: demo model, calibrate, generate with --compare, audit, report."""

from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from autosteer_core.errors import UserMistake
from autosteer_core.evaluation import Rate
from autosteer_core.text_control import text_only_accuracy
from infra.column_map import ColumnMap
from pipelines.batch_run import Request, worker_pool
from pipelines.bundle_files import load_bundle
from pipelines.calibrate import CalibrationRequest, calibrate_manifest, contents_hash
from pipelines.demo.manifest import DemoManifests, write_demo_manifests
from pipelines.demo.model import demo_model_folder
from pipelines.moderate import moderate
from pipelines.progress import told
from pipelines.reading import open_items
from pipelines.settings import Settings
from pipelines.tables import bundle_table
from pipelines.wiring import all_items


def show_demo(out: Path, settings: Settings, console: Console) -> dict[str, Any]:
    """Do every step under `out`; what is already there is continued, not repeated."""
    started = perf_counter()
    with console.status("building the demo model"):
        demo_model_folder(settings.cache)
    manifests = write_demo_manifests(out / "manifests")
    bundle = _calibrated(out / "bundle", manifests, settings, console)
    steering = settings.model_copy(update={"bundle": bundle, "max_new_tokens": 32})
    with worker_pool(settings) as pool:
        generated = moderate(_request("generate", manifests, out, steering), console, pool)
        audited = moderate(_request("audit", manifests, out, steering), console, pool)
    control = _text_control(manifests)
    console.print(_control_table(control))
    console.print(f"report: {(out / 'generate' / 'report.html').resolve().as_uri()}", highlight=False)
    return {
        "seconds": round(perf_counter() - started, 1),
        "generate": generated.as_json(),
        "audit": audited.as_json(),
        "text_only_control": {
            group: {"accuracy": rate.value, "interval": rate.interval, "auroc": auroc}
            for group, (rate, auroc) in control.items()
        },
    }


def _calibrated(folder: Path, manifests: DemoManifests, settings: Settings, console: Console) -> str:
    if not (folder / "card.json").exists():
        with told(console, "loading the model") as say:
            request = CalibrationRequest(str(manifests.calibration), str(folder), settings, ColumnMap())
            made = calibrate_manifest(request, say)
        console.print(bundle_table(made.bundle))
    _refuse_stale(folder, manifests, settings)
    return str(folder)


def _refuse_stale(folder: Path, manifests: DemoManifests, settings: Settings) -> None:
    """A bundle that an earlier version of the demo left behind must not speak for this one's items."""
    fitted_on = load_bundle(str(folder), settings).report["calibration_set"]["sha256"]
    if fitted_on != contents_hash(open_items(str(manifests.calibration))):
        raise UserMistake(f"{folder} was calibrated on other items: delete {folder.parent} or choose another --out")


def _request(kind: Any, manifests: DemoManifests, out: Path, settings: Settings) -> Request:
    return Request(kind, str(manifests.run), str(out / kind), settings, ColumnMap(), compare=kind == "generate")


def _text_control(manifests: DemoManifests) -> dict[str, tuple[Rate, float]]:
    calibration, run = (all_items(open_items(str(path))) for path in (manifests.calibration, manifests.run))
    return text_only_accuracy(calibration, run)


def _control_table(control: dict[str, tuple[Rate, float]]) -> Table:
    """Near 50 % means that the words alone do not tell: whatever is caught there is caught by the picture."""
    table = Table("group", "n", "accuracy", "AUROC", title="control: an n-gram probe that sees the text only")
    for group, (rate, auroc) in control.items():
        table.add_row(group, str(rate.trials), str(rate), f"{auroc:.2f}")
    return table
