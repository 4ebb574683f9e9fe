"""Results as tables for a terminal."""

from collections import Counter

from rich.table import Table
from rich.text import Text

from autosteer_core.bundle import Bundle
from autosteer_core.guarantee import Guarantee
from autosteer_core.values import Label
from pipelines.summary import Summary
from pipelines.verify import Verified
from pipelines.violation import INVARIANTS


def action_table(summary: Summary) -> Table:
    """How many rows ended how."""
    table = Table("action", "rows", title=f"{summary.finished.run.kind}, run {summary.finished.run.run_id}")
    table.columns[1].justify = "right"
    for action, rows in summary.actions.items():
        table.add_row(action, f"{rows:,}")
    for code, rows in summary.errors.items():
        table.add_row(f"  {code}", f"{rows:,}")
    table.add_section()
    table.add_row("rows", f"{summary.finished.run.rows:,}")
    return table


def outcome_table(summary: Summary) -> Table:
    """Attack success and false refusals per group: lower is better everywhere."""
    table = Table(
        "group", "n", "without steering", "always steered", "gated", title="95 % intervals; lower is better"
    )
    for label, heading in ((Label.HARMFUL, "attack success"), (Label.BENIGN, "false refusals")):
        lines = [outcome for outcome in summary.outcomes if outcome.label is label]
        if lines:
            table.add_section()
            table.add_row(Text(heading, "bold"))
        for line in lines:
            rates = (line.unsteered, line.always, line.gated)
            table.add_row(f"  {line.group}", str(line.gated.trials), *(str(rate) for rate in rates))
    return table


def flag_table(summary: Summary) -> Table:
    """Audit of labelled rows: how many were flagged."""
    table = Table("group", "label", "n", "flagged", title="share flagged, 95 % intervals")
    for group, label, rate in summary.flags:
        table.add_row(group, str(label), str(rate.trials), str(rate))
    return table


def beside_table(summary: Summary) -> Table:
    """Where other bundles decide otherwise."""
    table = Table("bundle beside", "flagged", "not here", "only here", title="the same rows under other bundles")
    for other in summary.beside:
        table.add_row(other.name, f"{other.flagged:,}", f"{other.only_there:,}", f"{other.only_here:,}")
    return table


def bundle_table(bundle: Bundle) -> Table:
    """The guarantee and what it costs, measured on rows that nothing was fitted on."""
    guarantee, probe = bundle.guarantee, bundle.report["probe"]
    table = Table("", "", title=f"bundle {bundle.bundle_id}", show_header=False)
    table.add_row("layers", ", ".join(str(site) for site in bundle.sites))
    table.add_row("threshold", f"{guarantee.threshold:.4f}")
    table.add_row("harmful items", _misses(guarantee))
    wrong = f"at most {guarantee.false_refusal_bound:.1%} at the same confidence"
    table.add_row("false refusals", f"{guarantee.false_refusals} of {guarantee.benign}: {wrong}")
    table.add_row("AUROC", ", ".join(f"{name} {probe[name]['auroc']:.3f}" for name in ("mlp", "linear")))
    table.add_row(
        "probe", f"{probe['chosen']}, calibration error {probe[probe['chosen']]['expected_calibration_error']:.3f}"
    )
    for modality, own in bundle.slices.items():
        table.add_row(f"threshold for {modality}", f"{own.threshold:.4f}: {_misses(own)}")
    for group, rates in probe["by_group"].items():
        table.add_row(f"  {group}", ", ".join(f"{name} {rate}" for name, rate in rates.items()))
    for action, outcome in bundle.report["gate_actions"].items():
        chosen = " (chosen)" if action == bundle.gate_action else ""
        table.add_row(f"refused by {action}{chosen}", f"{outcome['refused']}, broken {outcome['degenerate']}")
    return table


def _misses(found: Guarantee) -> str:
    bound = f"at most {found.bound:.1%} at confidence {1 - found.delta:.0%}"
    return f"{found.missed} of {found.harmful} missed: {bound}"


def verified_table(found: Verified) -> Table:
    """Every invariant, and how often it is broken."""
    state = "finished" if found.finished else "not finished"
    table = Table("", "what must hold", "broken", title=f"run {found.run_id}, {state}")
    table.columns[2].justify = "right"
    broken = Counter(each.invariant for each in found.violations)
    for name, promise in INVARIANTS.items():
        table.add_row(name, promise, Text(str(broken[name]), "red" if broken[name] else ""))
    table.add_section()
    lost = f", {found.lost_attempts} attempts that were not committed" if found.lost_attempts else ""
    table.add_row("", f"read: {found.parts:,} parts, {found.rows:,} rows{lost}", "")
    return table
