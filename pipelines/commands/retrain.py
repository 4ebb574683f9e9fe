"""The command that makes the next bundle of a registry: retrain."""

from typing import Annotated

import typer

from pipelines.commands.options import OUR_MISTAKE, Config, Json, Set, console, print_json, settings_of
from pipelines.progress import told


def retrain(
    registry: Annotated[str | None, typer.Option(help="folder or s3:// address; default: the setting")] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="output whose activations labels are joined with; default: flagged runs")
    ] = None,
    when_labels: Annotated[
        int | None, typer.Option(min=1, help="only with so many labels that the bundle has not learnt from yet")
    ] = None,
    when_drift: Annotated[bool, typer.Option("--when-drift", help="also, or only, where a run has drifted")] = False,
    address: Annotated[
        str | None, typer.Option(help="run it as a job of the Ray cluster with this dashboard, http://HOST:8265")
    ] = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Fit the bundle that serves anew on what was labelled since, and publish the next one if it passes every gate.

    No forward pass: it reads activations that runs kept. Made for cron: with nothing new it says so and ends with
    code 0. A candidate that a gate refuses is kept with the reasons, and the exit code is 1.

    Example:

        autosteer retrain --registry registry --run runs/monday

        autosteer retrain --registry s3://bucket/registry --when-labels 200 --when-drift --json
    """
    settings = settings_of(config, set_, registry=registry)
    if address is not None:
        from pipelines.retrain_job import retrain_there
        from workers.ray_jobs import run_job

        command = retrain_there(settings, run or [], when_labels, when_drift, as_json)
        raise typer.Exit(run_job(address, command, lambda text: print(text, end="", flush=True)))
    from pipelines.retrain_here import retrain_here
    from pipelines.retrain_tables import retrained_table

    with told(console, "reading the registry") as say:
        done = retrain_here(settings, run or [], when_labels, when_drift, say)
    if as_json:
        print_json(done.as_json())
    else:
        console.print(retrained_table(done))
    if done.outcome == "refused":
        raise typer.Exit(OUR_MISTAKE)
