"""The flagged items of a registry, and which content an item id stands for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from autosteer_core.commit import read_activations_of
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from autosteer_core.values import Item
from infra.activation_files import contents_from_parquet
from infra.open_store import open_store
from infra.review_files import ReviewTable, review_from_parquet, review_to_parquet

REVIEW = "review/"


@dataclass(slots=True)
class Contents:
    """Item id -> content, and content -> run; an id that stands for two contents is no name for either."""

    _by_id: dict[str, bytes] = field(default_factory=dict)
    _runs: dict[bytes, str] = field(default_factory=dict)
    _twice: set[str] = field(default_factory=set)

    def add(self, item_id: str, content: bytes, run_id: str) -> None:
        """Take one row of a run in."""
        if self._by_id.setdefault(item_id, content) != content:
            self._twice.add(item_id)
        self._runs.setdefault(content, run_id)

    def of(self, item: Item) -> bytes | None:
        """What the item shows, by the hash that it tells or else by its id; None where nobody knows the id.

        Raises:
            UserMistake: E_ID_CONFLICT, two items of different content have this id.
        """
        if item.text:
            return bytes.fromhex(item.text)
        if item.item_id in self._twice:
            raise UserMistake(
                f"item id {item.item_id[:80]!a} stands for different items in these runs: name one run with --run, "
                "or give the column content",
                "E_ID_CONFLICT",
            )
        return self._by_id.get(item.item_id)

    def run_of(self, content: bytes) -> str | None:
        """The run in which the item was looked up."""
        return self._runs.get(content)


def known_contents(registry: BlobStore, runs: Sequence[str]) -> Contents:
    """Of every row that was read in the `runs`; without any, of all flagged items."""
    found = Contents()
    for out in runs:
        _add_run(out, found)
    if not runs:
        for table in review_tables(registry):
            for row in table.rows:
                found.add(row.item_id, row.content, table.run_id)
    return found


def review_tables(registry: BlobStore) -> Iterator[ReviewTable]:
    """Of every run that was flagged."""
    for key in registry.keys(REVIEW):
        if key.endswith(".parquet"):
            yield review_from_parquet(registry.get(key))


def put_review_table(registry: BlobStore, table: ReviewTable) -> None:
    """Write or replace: it is a view of the run's rows, which can be made again."""
    registry.put(f"{REVIEW}{table.run_id}.parquet", review_to_parquet(table))


def require_activations(out: str, records: Sequence[CommitRecord]) -> None:
    """Raise UserMistake where a run kept nothing that another probe could read."""
    if not any(record.activations for record in records):
        raise UserMistake(
            f"{out} keeps no activations, which labels are joined with: run it with --set activations=true",
            "E_ACTIVATIONS_MISSING",
        )


def _add_run(out: str, found: Contents) -> None:
    store = open_store(out)
    run_id, records = str(read_record(store)["run_id"]), read_records(store).current
    require_activations(out, records)
    for record in records:
        data = read_activations_of(store, record)
        if data is not None:
            for item_id, content in contents_from_parquet(data):
                found.add(item_id, content, run_id)
