"""What became of a retraining, as a table for a terminal."""

from rich.table import Table

from pipelines.retrain import Outcome, Retrained

_NEXT = {
    Outcome.CANDIDATE: "autosteer shadow {0}, then autosteer promote {0} --reason ...",
    Outcome.REFUSED: "label more, and retrain",
    Outcome.PROMOTED: "autosteer rollback --reason ... undoes it",
}


def retrained_table(done: Retrained) -> Table:
    """From which parent, by how many labels, with which end, and what to do next."""
    table = Table(show_header=False, title=f"retraining of bundle {done.parent}")
    table.add_row("outcome", str(done.outcome))
    table.add_row("bundle", done.bundle_id or "-")
    table.add_row("new labels", f"{done.new_labels:,} of {done.rows:,} rows")
    for reason, rows in done.dropped.items():
        table.add_row(f"  left out: {reason}", f"{rows:,}")
    for reason in done.reasons:
        table.add_row("reason", reason)
    if done.outcome in _NEXT:
        table.add_row("next", _NEXT[done.outcome].format(done.bundle_id))
    return table
