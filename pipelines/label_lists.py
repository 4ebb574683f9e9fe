"""What a registry's labels come to: for a table, and for a program."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from autosteer_core.label_book import Book, Statement, book
from infra.open_store import open_store
from pipelines.labels import read_statements

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class LabelList:
    """Every statement, and what they come to."""

    statements: list[Statement]
    book: Book

    def as_json(self) -> dict[str, Any]:
        """All items, by the hex digits of their content."""
        return {
            "statements": len(self.statements),
            "labels": [
                {
                    "content": content.hex(), "item_id": label.item_id, "label": label.label.value,
                    "by": list(label.by), "kind": label.kind.value,
                }
                for content, label in self.book.resolved.items()
            ],
            "conflicts": [
                {"content": content.hex(), "said": [_said(each) for each in said]}
                for content, said in self.book.conflicts.items()
            ],
            "waiting": [
                {"content": content.hex()} | _said(each) for content, each in self.book.waiting.items()
            ],
        }  # fmt: skip


def label_list(registry: str) -> LabelList:
    """Raises UserMistake where a file of labels is damaged."""
    statements = read_statements(open_store(registry))
    return LabelList(statements, book(statements))


def labels_table(found: LabelList) -> Iterator[Table]:
    """Counts by source, and the first conflicts."""
    sources = Counter((each.kind.value, each.labeller, each.label.value) for each in found.statements)
    counts = f"{len(found.book.resolved):,} labels hold, {len(found.book.conflicts):,} items are in conflict"
    table = Table("kind", "source", "label", "statements", title=counts)
    for (kind, labeller, label), count in sorted(sources.items()):
        table.add_row(kind, labeller, label, f"{count:,}")
    table.caption = f"{len(found.book.waiting):,} items have the word of one source alone, which is no label"
    yield table
    if found.book.conflicts:
        conflicts = Table("item", "what was said", title="conflicts: those between sources a reviewer settles")
        for said in list(found.book.conflicts.values())[:_SHOWN]:
            conflicts.add_row(said[0].item_id, ", ".join(f"{each.label.value} by {each.labeller}" for each in said))
        yield conflicts


def _said(statement: Statement) -> dict[str, str]:
    names = ("item_id", "label", "labeller", "kind", "at")
    return {name: str(getattr(statement, name)) for name in names}
