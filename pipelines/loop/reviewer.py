"""A reviewer for the demonstration: says of every item what the manifest's own label column says."""

from pathlib import Path

from autosteer_core.kept_activations import content_hash
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.ports import BlobStore
from pipelines.labels import add_statements, now
from pipelines.reading import open_items
from pipelines.wiring import all_items

REVIEWER = "loop-demonstration"


def review(manifest: Path, registry: BlobStore, run_id: str) -> int:
    """How many statements are new; a second time none are."""
    at = now()
    return add_statements(
        registry,
        [
            Statement(content_hash(item), item.item_id, label, REVIEWER, LabellerKind.REVIEWER, at, run_id)
            for item in all_items(open_items(str(manifest)))
            if (label := item.annotation.label) is not None
        ],
    )
