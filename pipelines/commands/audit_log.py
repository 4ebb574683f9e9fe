"""The commands that read an output's audit log: show and verify."""

from typing import Annotated

import typer
from rich.table import Table

from pipelines.commands.options import OUR_MISTAKE, Json, console, print_json

app = typer.Typer(
    no_args_is_help=True,
    help="""Read the audit log of an output or a registry: what was done with it, in entries chained by hashes.

    Example:

        autosteer audit-log verify runs/monday
    """,
)

Output = Annotated[str, typer.Argument(help="output of a generate or audit run, or a registry")]


@app.command()
def show(out: Output, as_json: Json = False) -> None:
    """List the entries.

    Example:

        autosteer audit-log show runs/monday --json
    """
    from autosteer_core.audit_log import entries
    from infra.open_store import open_store

    found = list(entries(open_store(out)))
    if as_json:
        print_json([{"number": each.number, "at": each.at, "deed": each.deed, **each.subject} for each in found])
        return
    table = Table("entry", "at", "deed", "of what", title=f"audit log of {out}")
    for each in found:
        subject = ", ".join(f"{name} {value}" for name, value in each.subject.items())
        table.add_row(str(each.number), each.at, each.deed, subject)
    console.print(table)


@app.command()
def verify(
    out: Output,
    head: Annotated[
        str | None, typer.Option(help="NUMBER:SHA256 that a run printed; default: what this machine noted")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed, moved, doubled or written anew; the exit code is 1 if one was.

    Example:

        autosteer audit-log verify runs/monday

        autosteer audit-log verify s3://bucket/answers --head "$HEAD"
    """
    from autosteer_core.audit_log import Head, breaks
    from autosteer_core.audit_log import head as head_of
    from infra.open_store import open_store
    from pipelines.audit_heads import noted_head

    store = open_store(out)
    noted = noted_head(out) if head is None else Head.parsed(head)
    found = list(breaks(store, noted))
    if as_json:
        said = [{"where": key, "found": what} for key, what in found]
        print_json({"head": str(head_of(store)), "noted": noted and str(noted), "violations": said})
    else:
        for key, what in found:
            console.say(f"I10 {key}: {what}", "red")
        outside = f"noted outside: {noted}" if noted else "no head was noted outside: its end is not proven"
        console.say(f"{len(found)} violations, {outside}")
    if found:
        raise typer.Exit(OUR_MISTAKE)
