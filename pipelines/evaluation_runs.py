"""The runs of an evaluation: each is an ordinary run below the output, so each resumes by itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from autosteer_core.errors import Interrupted
from autosteer_core.run import Run
from autosteer_core.values import QueueCounts, Verdict
from infra.column_map import ColumnMap
from pipelines.batch_run import Request, run_batch
from pipelines.job import Kind
from pipelines.settings import Settings

Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Runs:
    """Starts or continues runs under `out` and shows their rows."""

    out: str
    settings: Settings
    bar: Progress

    def audit(self, name: str, bundle: str, manifest: str) -> Verdicts:
        """Risks of every row of the manifest under the bundle."""
        return self._verdicts("audit", f"audit/{name}", manifest, {"bundle": bundle})

    def generate(
        self, name: str, bundle: str, manifest: str | None, compare: bool = False, **settings: Any
    ) -> Verdicts:
        """Answers of every row; with `compare` also the unsteered and the always steered ones."""
        changed = {"bundle": bundle} | settings
        return self._verdicts("generate", f"generate/{name}", manifest, changed, compare) if manifest else {}

    def judge(self, name: str, model: str, bundle: str, manifest: str | None) -> Verdicts:
        """What a judge model says of every exchange of a prompt and an answer."""
        changed = {"bundle": bundle}
        return self._verdicts("audit", f"judge/{name}", manifest, changed, judge=model) if manifest else {}

    def _verdicts(
        self,
        kind: Kind,
        name: str,
        manifest: str,
        changed: Mapping[str, Any],
        compare: bool = False,
        judge: str | None = None,
    ) -> Verdicts:
        settings = self.settings.model_copy(update=dict(changed))
        request = Request(kind, manifest, f"{self.out.rstrip('/')}/{name}", settings, ColumnMap(), compare, judge)
        with self._shown(name) as show:
            finished = run_batch(request, show)
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
    """One line per run, for as long as the evaluation works."""
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        yield Runs(out, settings, bar)
