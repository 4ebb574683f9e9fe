"""Generate or audit a manifest with a progress bar, an end table and a report."""

import json

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from autosteer_core.errors import AutosteerError, Interrupted
from autosteer_core.registry_state import State
from autosteer_core.run import Run
from autosteer_core.values import QueueCounts
from pipelines.batch_run import Request, run_batch
from pipelines.registry_files import open_registry
from pipelines.report import report_html
from pipelines.settings import Settings
from pipelines.summary import Summary, summarise
from pipelines.tables import action_table, beside_table, flag_table, outcome_table
from workers.ray_pool import Pool


def moderate(request: Request, console: Console, pool: Pool | None = None) -> Summary:
    """Do or continue the run, show it, and leave `summary.json` and `report.html` beside the rows."""
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
        MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(f"{request.kind}: starting", total=None)

        def show(run: Run, rows_done: int, counts: QueueCounts) -> None:
            state = f"{request.kind}: {counts.done} parts done, {counts.leased} running"
            bar.update(task, total=run.rows, completed=rows_done, description=state)

        try:
            finished = run_batch(request, show, pool)
        except KeyboardInterrupt:
            raise Interrupted("stopped; what is committed stays, repeat the command to continue") from None
    summary = summarise(finished)
    finished.store.put("summary.json", json.dumps(summary.as_json(), indent=1).encode())
    finished.store.put("report.html", report_html(summary, finished.bundle, _registry(request.settings)))
    _print(summary, console)
    return summary


def _registry(settings: Settings) -> State | None:
    """For the report; a run that is finished does not fail because its registry is away by then."""
    try:
        return open_registry(settings.registry).state() if settings.registry else None
    except AutosteerError:
        return None


def _print(summary: Summary, console: Console) -> None:
    console.print(action_table(summary))
    if not summary.finished.run.rows:
        console.print("the manifest has no rows: nothing was done", style="yellow", highlight=False)
    if summary.outcomes:
        console.print(outcome_table(summary))
    if summary.flags:
        console.print(flag_table(summary))
    if summary.beside:
        console.print(beside_table(summary))
    where = summary.finished.store.describe()
    console.print(f"rows, summary.json and report.html are in {where}", highlight=False, markup=False)
    console.print(f"head of its audit log: {summary.finished.head}", highlight=False)
