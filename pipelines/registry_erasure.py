"""What a registry holds of one item is erased: what was said of it, and its place in review tables.

Labelled activations that a bundle was fitted on, or is gated on, stay: bundles name them by their hash. They are
counted, so that whoever must erase them knows that a retraining without them has to come first.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from autosteer_core.audit_log import Deed
from autosteer_core.ports import BlobStore
from infra.open_store import open_store
from infra.parquet_items import without_item
from pipelines.audit_heads import log_deed

LABELS, REVIEW, MATERIALS = "labels/", "review/", "materials/"


@dataclass(frozen=True, slots=True)
class RegistryErased:
    """Statements and review rows that went, and rows of materials that are still there."""

    statements: int
    review_rows: int
    material_rows_left: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def erase_from_registry(address: str, item_id: str) -> RegistryErased:
    """Safe to repeat, and to be killed: the new file is there before the old one goes.

    Raises:
        UserMistake: a file is damaged.
    """
    store = open_store(address)
    statements = sum(_rewrite(store, key, item_id) for key in _tables(store, LABELS))
    review = sum(_replace(store, key, item_id) for key in _tables(store, REVIEW))
    left = sum(without_item(store.get(key), item_id).rows for key in _tables(store, MATERIALS))
    found = RegistryErased(statements, review, left)
    if statements or review:
        log_deed(store, Deed.ITEM_ERASED, {"item_sha256": sha256(item_id.encode()).hexdigest(), **found.as_json()})
    return found


def _tables(store: BlobStore, folder: str) -> Iterator[str]:
    return (key for key in list(store.keys(folder)) if key.endswith(".parquet"))


def _rewrite(store: BlobStore, key: str, item_id: str) -> int:
    """A file that is named by its bytes."""
    found = without_item(store.get(key), item_id)
    if found.rows:
        if found.data is not None:
            store.put_if_absent(f"{LABELS}{sha256(found.data).hexdigest()}.parquet", found.data)
        store.delete(key)
    return found.rows


def _replace(store: BlobStore, key: str, item_id: str) -> int:
    """A view, which keeps its name."""
    found = without_item(store.get(key), item_id)
    if found.rows and found.data is not None:
        store.put(key, found.data)
    elif found.rows:
        store.delete(key)
    return found.rows
