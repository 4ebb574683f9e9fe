"""What a retraining asks of others, answered by this registry: its labels, its rules of curation, its gates."""

from collections.abc import Callable, Mapping, Sequence

from autosteer_core.bundle import Bundle
from autosteer_core.errors import UserMistake
from autosteer_core.gate_limits import GateLimits
from autosteer_core.material import Material, Origin
from autosteer_core.ports import BlobStore
from autosteer_core.promotion_gates import Training, gate
from autosteer_core.training_set import CurationLimits, curate
from pipelines.flagged_items import review_tables
from pipelines.flags import drifts
from pipelines.labelled_activations import labelled_rows
from pipelines.retrain import Learning

Say = Callable[[str], None]


def learning_of(registry: BlobStore, runs: Sequence[str], limits: GateLimits, say: Say) -> Learning:
    """Labels are joined with what the `runs` kept; without any, with all runs whose rows were flagged here."""

    def labelled(origin: Origin) -> Material:
        return labelled_rows(registry, runs, origin) if runs else _of_flagged(registry, origin, say)

    def curated(base: Material, new: Material) -> tuple[Material, Mapping[str, int]]:
        found = curate(base, new, CurationLimits())
        return found.material, {reason: count for reason, count in found.dropped.items() if count}

    def gated(candidate: Bundle, parent: Bundle, holdout: Material, made_of: Material, new: int) -> list[str]:
        found = gate(candidate, parent, holdout, limits, Training(made_of, new))
        return [f"{each.code}: {each.message}" for each in found]

    return Learning(labelled, curated, gated)


def alarm_of(registry: BlobStore, runs: Sequence[str]) -> str | None:
    """Why not to wait for more labels: a run that has drifted, of the `runs` or, without any, of all flagged ones."""
    addresses = {table.run_id: table.out for table in review_tables(registry)}
    for run_id, drift in sorted(drifts(registry).items()):
        if drift["alarm"] and (not runs or addresses.get(run_id) in runs):
            return f"run {run_id} has drifted: stability index {drift['psi']:.2f}, two-sample p {drift['p']:.3f}"
    return None


def _of_flagged(registry: BlobStore, origin: Origin, say: Say) -> Material:
    """A run that is gone, or of other sites, has nothing to teach: it is told of and left out."""
    found, tables = [], list(review_tables(registry))
    for table in tables:
        try:
            found.append(labelled_rows(registry, [table.out], origin))
        except UserMistake as error:
            say(f"run {table.run_id} is left out: {error}")
    if not found:
        raise UserMistake(
            f"{registry.describe()} knows {len(tables)} runs with flagged rows and can read none: name one with "
            "--run, or look for rows to label with `autosteer flags`",
            "E_ACTIVATIONS_MISSING",
        )
    return Material.joined([each for each in found if len(each)] or found[:1])
