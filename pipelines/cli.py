"""The command line: every command in the order of its help, and what becomes of errors."""

import json
import os
import sys

import typer
from rich.text import Text

from autosteer_core.errors import AutosteerError, Interrupted, UserMistake
from autosteer_core.visible_text import one_line
from pipelines.commands import (
    audit_log,
    data_sets,
    fitting,
    labels,
    moderation,
    registry,
    replay,
    retrain,
    showing,
    trust,
    upkeep,
)
from pipelines.commands.options import INTERRUPTED, OUR_MISTAKE, USER_MISTAKE, console
from pipelines.versions import require_versions
from workers.ray_access import prepare

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

for command in (
    moderation.generate, moderation.audit, fitting.calibrate, fitting.evaluate, trust.keys, trust.sign,
    upkeep.status, upkeep.verify, upkeep.retry, upkeep.bury, upkeep.clean, upkeep.export,
    labels.flags, labels.review, retrain.retrain,
    registry.publish, registry.bundles, registry.shadow, registry.canary, registry.promote, registry.rollback,
    replay.replay, replay.recall, replay.erase,
    data_sets.suites, data_sets.import_, showing.demo,
):  # fmt: skip
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(audit_log.app, name="audit-log")
app.add_typer(labels.app, name="labels")


def main() -> None:
    """Run a command; bad input ends with one sentence and exit code 2, our failure with exit code 1."""
    prepare()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' own bars; ours say what matters
    try:
        require_versions()
        app()
    except UserMistake as mistake:
        _fail(mistake, USER_MISTAKE)
    except Interrupted as stop:
        _fail(stop, INTERRUPTED)
    except AutosteerError as error:
        _fail(error, OUR_MISTAKE)
    except Exception as error:
        if os.environ.get("AUTOSTEER_DEBUG"):
            raise
        _fail(AutosteerError(_inside(error)), OUR_MISTAKE)


def _inside(error: Exception) -> str:
    """Which error it is and where; what it says stays unsaid, for a library's message may quote an item."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_globals.get('__name__')}, line {frame.tb_lineno}" if frame else "an unknown place"
    return f"internal error, {type(error).__name__} in {place}: AUTOSTEER_DEBUG=1 shows all of it"


def _fail(error: AutosteerError, exit_code: int) -> None:
    """One sentence for a person, and for a program that asked for JSON an object in its place."""
    if exit_code == INTERRUPTED:
        console.say(str(error))
    else:
        console.print(Text.assemble(("error:", "red"), " ", one_line(f"{error.code}: {error}")))
    if "--json" in sys.argv:
        print(json.dumps({"error": {"code": error.code, "message": str(error)}}, indent=1))
    sys.exit(exit_code)
