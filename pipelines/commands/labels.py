"""The commands that turn a run's rows into labels: flags, review, and labels import, judge and list."""

from typing import Annotated

import typer
from rich.table import Table

from pipelines.commands.options import Config, Json, Set, console, print_json, settings_of
from pipelines.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="""Say of items whether they are harmful: from a file, by judges, and see what holds.

    A label holds where a reviewer says so, or where two sources agree that do not depend on each other.

    Example:

        autosteer labels import labels.csv --registry registry --source trust-team --run runs/monday
    """,
)

Out = Annotated[str, typer.Argument(help="output of a generate or audit run that kept its activations")]
RegistryOption = Annotated[str | None, typer.Option(help="folder or s3:// address; default: the setting `registry`")]
ManifestOption = Annotated[str | None, typer.Option(help="where the run's manifest lies now, if it was moved")]
JudgeOption = Annotated[
    list[str] | None, typer.Option(help="keywords, or a classifier or guard MODEL[@CLASS]; may be repeated")
]


def flags(
    out: Out,
    registry: RegistryOption = None,
    judge: JudgeOption = None,
    against: Annotated[
        str | None, typer.Option(help="an earlier run to see drift against; default: what the bundle was fitted on")
    ] = None,
    band: Annotated[float, typer.Option(min=0, help="log odds around the threshold that are borderline")] = 0.5,
    manifest: ManifestOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """List the rows of a run that a person should look at, into the registry's review table: nothing is a label yet.

    Those are rows with an open gate, a close call, an answer that a judge finds wrong for its gate, and, where the
    run as a whole has drifted, rows that are unlike all that was seen before.

    Example:

        autosteer flags runs/monday --registry registry --judge keywords

        autosteer flags runs/tuesday --registry registry --against runs/monday --json
    """
    from pipelines.answer_judges import judges_named
    from pipelines.drift_reference import reference_for
    from pipelines.flags import FlagRequest, flag_run

    settings = settings_of(config, set_, registry=registry)
    where = _registry(settings)
    with console.status("reading") as status:
        judges = judges_named(judge or ["keywords"], settings)
        reference = reference_for(out, settings, against)
        request = FlagRequest(out, where, settings, judges, reference, manifest, band)
        found = flag_run(request, lambda done, of: status.update(f"flagging: part {done} of {of}"))
    if as_json:
        print_json(found.as_json())
        return
    table = Table("reason", "rows", title=f"flagged: {found.flagged:,} of {found.rows:,} rows")
    for reason, rows in found.reasons.items():
        table.add_row(reason, f"{rows:,}")
    console.print(table)
    if found.drift is None:
        console.say("drift was not measured: name an earlier run with --against, or calibrate with --registry")
    else:
        said = "drifted from" if found.drift.alarm else "is like"
        console.say(
            f"the run {said} {found.drift.reference}: stability index of risks {found.drift.psi:.3f}, "
            f"two-sample test of activations p = {found.drift.p:.3f}",
            "yellow" if found.drift.alarm else "",
        )
    console.say("look at them with `autosteer review`")


def review(
    registry: RegistryOption = None,
    who: Annotated[str | None, typer.Option("--as", help="the reviewer's name; default: who is logged in")] = None,
    run: Annotated[str | None, typer.Option(help="only items of the run at this output")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many items")] = None,
    manifest: ManifestOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Look at flagged items one after the other and decide with one key: h harmful, b benign, s skip, u undo, q quit.

    Pictures are named as files, to be opened in a viewer. Decisions are written ten at a time, and whatever ends the
    review. An item that a reviewer decided does not come again.

    Example:

        autosteer review --registry registry --as ana --limit 50
    """
    from pipelines.review import Review, ReviewRequest
    from pipelines.review_page import review_page
    from pipelines.single_keys import single_keys

    settings = settings_of(config, set_, registry=registry)
    name, run_id = _reviewer(who), None if run is None else _run_id(run)
    request = ReviewRequest(_registry(settings), name, settings, run_id, manifest, limit)
    with single_keys() as keys, review_page(console) as page:
        with console.status("reading the review tables"):
            sitting = Review.of(request)
        try:
            sitting.run(page, keys)
        except KeyboardInterrupt:
            raise _stopped(sitting.result.harmful + sitting.result.benign) from None
    found = sitting.result
    if as_json:
        print_json(found.as_json())
        return
    changed = f", {found.changed} are not what was flagged" if found.changed else ""
    console.say(
        f"{found.harmful} harmful, {found.benign} benign, {found.skipped} skipped, {found.left} left{changed}; "
        f"labels by {name} are in {settings.registry}"
    )


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="Parquet or CSV with the columns item_id or content, and label")],
    source: Annotated[str, typer.Option(help="who says so: one source alone makes no label")],
    registry: RegistryOption = None,
    run: Annotated[
        list[str] | None, typer.Option(help="output that item_id is looked up in; default: what was flagged")
    ] = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Take labels from a file as the word of one source. `content` is the hash that files of activations have.

    A label is harmful, unsafe, benign or safe; a row without one is left out. All rows can be read, or none counts.

    Example:

        autosteer labels import labels.parquet --registry registry --source vendor

        autosteer labels import sheet.csv --registry registry --source ana --run runs/monday
    """
    from pipelines.labels import import_labels

    settings = settings_of(config, set_, registry=registry)
    with console.status("reading the table") as status:
        found = import_labels(
            file, _registry(settings), source, run or [],
            lambda done, of: status.update(f"reading the table: row {done:,} of {of:,}"),
        )  # fmt: skip
    if as_json:
        print_json({name: getattr(found, name) for name in ("rows", "added", "known", "unlabelled", "unknown")})
        return
    console.say(
        f"{found.rows:,} rows: {found.added:,} labels added, {found.known:,} said before, "
        f"{found.unlabelled:,} without a label, {found.unknown:,} of items that are not known"
    )


@app.command()
def judge(
    out: Out,
    judge: JudgeOption = None,
    registry: RegistryOption = None,
    manifest: ManifestOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Let judges of the answers say what they are sure of: each is one source, and two must agree.

    Only answers under a closed gate count. A refusal there means that the model itself saw harm.

    Example:

        autosteer labels judge runs/monday --registry registry --judge keywords --judge guards/safety@unsafe
    """
    from pipelines.answer_judges import judges_named
    from pipelines.judge_labels import Judging, label_by_judges

    settings = settings_of(config, set_, registry=registry)
    where = _registry(settings)
    with console.status("judging") as status:
        judges = judges_named(judge or ["keywords"], settings)
        added = label_by_judges(
            Judging(out, where, judges, settings, manifest),
            lambda done, of: status.update(f"judging: part {done} of {of}"),
        )
    if as_json:
        print_json({"added": added})
        return
    console.say(f"{added:,} statements added")


@app.command("list")
def list_(registry: RegistryOption = None, config: Config = None, set_: Set = None, as_json: Json = False) -> None:
    """Show which labels hold, about which items the sources disagree, and where one source alone has spoken.

    Example:

        autosteer labels list --registry registry --json
    """
    from pipelines.label_lists import label_list, labels_table

    settings = settings_of(config, set_, registry=registry)
    with console.status("reading the labels"):
        found = label_list(_registry(settings))
    if as_json:
        print_json(found.as_json())
        return
    for table in labels_table(found):
        console.print(table)


def _registry(settings: Settings) -> str:
    from autosteer_core.errors import UserMistake

    if settings.registry is None:
        raise UserMistake("no registry was named: give --registry, a folder or an s3:// address, or set `registry`")
    return settings.registry


def _reviewer(who: str | None) -> str:
    from pipelines.labels import checked_name
    from pipelines.registry_files import who_here

    return checked_name(who or who_here(), "--as")


def _run_id(out: str) -> str:
    from autosteer_core.run import read_record
    from infra.open_store import open_store

    return str(read_record(open_store(out))["run_id"])


def _stopped(decided: int) -> Exception:
    from autosteer_core.errors import Interrupted

    return Interrupted(f"stopped; {decided} decisions are kept, repeat the command to go on")
