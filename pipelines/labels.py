"""The labels of a registry: files of statements that are added and never changed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from autosteer_core.audit_log import Deed
from autosteer_core.errors import UserMistake
from autosteer_core.label_book import LabellerKind, Statement, latest, source_of
from autosteer_core.ports import BlobStore
from autosteer_core.values import Item, Label, Part, PartId
from infra.label_files import statements_from_parquet, statements_to_parquet
from infra.open_store import open_store
from infra.row_to_item import is_id
from pipelines.audit_heads import log_deed
from pipelines.flagged_items import Contents, known_contents
from workers.reader_process import ReaderProcess

LABELS = "labels/"
_TOLD, _MOST_BAD = 5, 100
_ROWS_A_STEP = 1000
_LONGEST_NAME = 128
_BETWEEN_NAMES = "+"  # in `Material.labeller_N`


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a table's rows: `added` are new, `known` were said before by the same source.

    `unlabelled` have an empty label, `unknown` name an item that no run and no review table has.
    """

    rows: int
    added: int
    known: int
    unlabelled: int
    unknown: int


def read_statements(store: BlobStore) -> list[Statement]:
    """Everything that was said, file by file; `label_book.book` makes labels of it.

    Raises:
        UserMistake: E_LABELS_DAMAGED, a file is not what its name says.
    """
    return [statement for key in store.keys(LABELS) for statement in _file(store, key)]


def add_statements(store: BlobStore, statements: Iterable[Statement]) -> int:
    """Keep those that say something new, in one file, and note them in the log; returns how many.

    Safe to repeat: what a source said last it need not say again.
    """
    last = {(each.content, source_of(each)): each for each in latest(read_statements(store))}
    new = [each for each in latest(statements) if _says_more(last.get((each.content, source_of(each))), each)]
    if not new:
        return 0
    data = statements_to_parquet(new)
    digest = hashlib.sha256(data).hexdigest()
    store.put_if_absent(f"{LABELS}{digest}.parquet", data)
    counts = Counter(each.label.value for each in new)
    about = {"labels_sha256": digest, "labellers": sorted({f"{each.kind}: {each.labeller}" for each in new})[:_TOLD]}
    log_deed(store, Deed.LABELS_ADDED, about | {"statements": len(new)} | dict(sorted(counts.items())))
    return len(new)


def import_labels(
    file: str, registry: str, source: str, runs: Sequence[str] = (), progress: Progress = lambda done, of: None
) -> Imported:
    """Take a table of labels as the word of one source; every row that can be read counts, or none does.

    An `item_id` is looked up in the `runs`, or without them among the flagged items of the registry.

    Raises:
        UserMistake: the file cannot be read, rows of it cannot, it says two things of one item, or none is known.
    """
    store = open_store(registry)
    name = checked_name(source, "--source")
    items = list(_labelled(file, progress))
    contents = known_contents(store, runs)
    told = _by_content(file, [item for item in items if item.annotation.label], contents)
    at = now()
    statements = [
        Statement(content, item.item_id, label, name, LabellerKind.IMPORT, at, contents.run_of(content))
        for content, (item, label) in told.items()
    ]
    added = add_statements(store, statements)
    labelled = sum(item.annotation.label is not None for item in items)
    unknown = sum(item.annotation.label is not None and contents.of(item) is None for item in items)
    return Imported(len(items), added, len(statements) - added, len(items) - labelled, unknown)


def checked_name(name: str, flag: str) -> str:
    """A labeller's name, as it may stand in a log and in a table."""
    if not is_id(name.strip()) or len(name) > _LONGEST_NAME or _BETWEEN_NAMES in name:
        raise UserMistake(
            f"{flag} is {name[:_LONGEST_NAME]!a}, expected a name of at most {_LONGEST_NAME} plain characters and "
            f"without {_BETWEEN_NAMES}: say who labelled",
            "E_LABELLER",
        )
    return name.strip()


def now() -> str:
    """UTC, ISO 8601, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _file(store: BlobStore, key: str) -> list[Statement]:
    data = store.get(key)
    if key != f"{LABELS}{hashlib.sha256(data).hexdigest()}.parquet":
        raise UserMistake(
            f"{key} in {store.describe()} is not what its name says: restore it from another copy", "E_LABELS_DAMAGED"
        )
    return statements_from_parquet(data)


def _says_more(before: Statement | None, now: Statement) -> bool:
    return before is None or before.label is not now.label or before.kind is not now.kind


def _labelled(file: str, progress: Progress) -> Iterator[Item]:
    """Raises UserMistake with the first rows that cannot be read."""
    reader = ReaderProcess("infra.label_tables:opened", {"address": file})
    try:
        ((name, rows, _),) = reader.files()
        bad = []
        for item in reader.items(Part(PartId("labels"), name, 0, rows)):
            if item.flaw is not None:
                bad.append(item)
            if len(bad) == _MOST_BAD:  # what is made to be bad can take long to read
                break
            if item.row % _ROWS_A_STEP == 0:
                progress(item.row, rows)
            yield item
    finally:
        reader.close()
    if bad:
        said = "; ".join(f"row {item.row}: {item.flaw.message}" for item in bad[:_TOLD] if item.flaw)
        assert bad[0].flaw is not None
        raise UserMistake(
            f"{file}: {len(bad):,} rows{' or more' if len(bad) == _MOST_BAD else ''} cannot be read (counted from "
            f"0), nothing was added: {said}: mend them, or leave them out",
            bad[0].flaw.code,
        )


def _by_content(file: str, items: Sequence[Item], contents: Contents) -> Mapping[bytes, tuple[Item, Label]]:
    told: dict[bytes, tuple[Item, Label]] = {}
    for item in items:
        content, label = contents.of(item), item.annotation.label
        if content is None or label is None:
            continue
        first, said = told.setdefault(content, (item, label))
        if said is not label:
            raise UserMistake(
                f"{file}: rows {first.row} and {item.row} (counted from 0) say {said} and {label} of one item, "
                f"{item.item_id[:80]!a}: a source has one word about an item, keep one of the rows",
                "E_LABEL_TWICE",
            )
    if items and not told:
        raise UserMistake(
            f"{file}: none of its {len(items):,} labelled items is known: name the run that holds them with --run, "
            "or give the column content",
            "E_LABEL_UNKNOWN",
        )
    return told
