"""The items of a run, read again from its manifest: only a row's place is kept, never what it says."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from autosteer_core.kept_activations import content_hash
from autosteer_core.ports import ManifestReader
from autosteer_core.values import Item, Part, PartId
from infra.column_map import ColumnMap
from infra.open_store import scheme_of
from pipelines.reading import open_items
from pipelines.settings import Settings


def items_of_run(run: Mapping[str, Any], settings: Settings, manifest: str | None = None) -> ManifestReader:
    """The manifest that the run was planned with, under its columns; `manifest` is its new place where it was moved.

    A file that is not what it was is refused when it is read.
    """
    planned = {name: digest for name, _, digest in run["files"]}
    chosen = run["settings"]
    places = {name: tuple(chosen[name]) for name in ("picture_roots", "fetch_hosts") if name in chosen}
    return open_items(
        manifest or str(run["manifest"]),
        ColumnMap(**chosen["columns"]),
        settings.model_copy(update=places),
        planned,
    )


def item_at(items: ManifestReader, source: str, row: int, content: bytes) -> Item | None:
    """One row; None if it shows something else than what was flagged, for example another picture behind its path."""
    item = next(iter(items.items(Part(PartId("review"), source, row, row + 1))))
    return item if item.flaw is None and content_hash(item) == content else None


def rows_of(items: ManifestReader, source: str, start: int, rows: int) -> Iterator[Item]:
    """Consecutive rows of one file."""
    return items.items(Part(PartId("rows"), source, start, start + rows))


def absolute(address: str) -> str:
    """The same from whatever folder a command is called."""
    return address if scheme_of(address) == "s3" else os.path.abspath(address)
