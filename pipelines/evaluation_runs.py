"""The runs of an evaluation: each is an ordinary run below the output, so each resumes by itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from autosteer_core.errors import Interrupted
from autosteer_core.run import Run
from autosteer_core.values import QueueCounts, Verdict
from infra.column_map import ColumnMap
from pipelines.batch_run import Request, run_batch, worker_pool
from pipelines.job import Kind
from pipelines.settings import Settings
from workers.ray_pool import Pool

Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Runs:
    """Starts or continues runs under `out` and shows their rows."""

    out: str
    settings: Settings
    pool: Pool
    bar: Progress

    def audit(self, manifest: str, bundle: str, beside: Mapping[str, str]) -> Verdicts:
        """Risks of every row under the bundle and, in the same pass, under those beside it."""
        request = self._request("audit", "audit", manifest, {"bundle": bundle})
        return self._verdicts("audit", replace(request, beside=beside))

    def generate(
        self, name: str, bundle: str, manifest: str | None, compare: bool = False, **settings: Any
    ) -> Verdicts:
        """Answers of every row; with `compare` also the unsteered and the always steered ones."""
        if manifest is None:
            return {}
        request = self._request("generate", f"generate/{name}", manifest, {"bundle": bundle} | settings)
        return self._verdicts(f"generate/{name}", replace(request, compare=compare))

    def judge(self, name: str, model: str, bundle: str, manifest: str | None) -> Verdicts:
        """What a judge model says of every exchange of a prompt and an answer."""
        if manifest is None:
            return {}
        request = self._request("audit", f"judge/{name}", manifest, {"bundle": bundle})
        return self._verdicts(f"judge/{name}", replace(request, judge=model))

    def _request(self, kind: Kind, name: str, manifest: str, changed: Mapping[str, Any]) -> Request:
        settings = self.settings.model_copy(update=dict(changed))
        return Request(kind, manifest, f"{self.out.rstrip('/')}/{name}", settings, ColumnMap())

    def _verdicts(self, name: str, request: Request) -> Verdicts:
        with self._shown(name) as show:
            finished = run_batch(request, show, self.pool)
        return {verdict.item_id: verdict for verdict in finished.verdicts}

    @contextmanager
    def _shown(self, name: str) -> Iterator[Callable[[Run, int, QueueCounts], None]]:
        task = self.bar.add_task(name, total=None)

        def show(run: Run, rows_done: int, counts: QueueCounts) -> None:
            self.bar.update(task, total=run.rows, completed=rows_done)

        try:
            yield show
        except KeyboardInterrupt:
            raise Interrupted("stopped; what is committed stays, repeat the command to continue") from None
        total = self.bar.tasks[task].total or 1
        self.bar.update(task, total=total, completed=total)


@contextmanager
def shown_runs(out: str, settings: Settings, console: Console) -> Iterator[Runs]:
    """One line per run, for as long as the evaluation works; all runs share the workers."""
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
        MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True,
    )  # fmt: skip
    with worker_pool(settings) as pool, bar:
        yield Runs(out, settings, pool, bar)
