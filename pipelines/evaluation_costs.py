"""The bundle against others that steer in another way: what they stop, whom they refuse, what a token costs."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from transformers import AutoConfig

from autosteer_core.evaluation import Rate
from autosteer_core.metrics import Estimate
from autosteer_core.questions import SetKind
from autosteer_core.steering_cost import steering_cost
from autosteer_core.table_one import SAMPLED_ATTACKS, Line
from pipelines.bundle_files import load_bundle
from pipelines.engines import model_source
from pipelines.evaluation_results import Evaluation
from pipelines.evaluation_tables import shown_cell
from pipelines.settings import Settings

COLUMNS = {
    SAMPLED_ATTACKS: (SAMPLED_ATTACKS, SetKind.HARMFUL),
    "false refusals": ("false refusals", SetKind.BENIGN),
    "of look-alikes": ("false refusals", SetKind.OVER_REFUSAL),
}


def cost_table(found: Evaluation, settings: Settings) -> Table:
    """Rates are of the sampled rows, the same for every line; costs are multiples of the plain output layer."""
    config = AutoConfig.from_pretrained(model_source(settings), trust_remote_code=False)
    vocabulary = config.get_text_config().vocab_size
    table = Table(
        "bundle", *COLUMNS, "output layer per token", "E rebuilt per token", title="against the plain output layer"
    )
    for name, address in found.bundles.items():
        cost = steering_cost(load_bundle(address, settings).head, vocabulary)
        cells = (shown_cell(_pooled(found, metric, kind).get(name)) for metric, kind in COLUMNS.values())
        table.add_row(name, *cells, f"x {cost.edited:.2f}", f"x {cost.rebuilt:.0f}")
    return table


def _pooled(found: Evaluation, metric: str, kind: SetKind) -> Mapping[str, Rate | Estimate]:
    """The line over all sets of a kind; of its only set where there is just one."""
    lines = [line for line in found.table if (line.metric, line.kind) == (metric, kind)]
    pooled = [line for line in lines if line.scope == f"all {kind}" and line.modality == "mixed"]
    pooled = pooled or [line for line in lines if line.scope == f"all {kind}"] if len(_sets(lines)) > 1 else lines
    return pooled[0].cells if pooled else {}


def _sets(lines: Sequence[Line]) -> set[str]:
    return {line.scope for line in lines if not line.scope.startswith("all ")}
