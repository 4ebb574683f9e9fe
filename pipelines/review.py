"""A person decides about flagged items, one key each: what they say is a label."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autosteer_core.errors import UserMistake
from autosteer_core.flagging import Flagged, worth_most_first
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.ports import BlobStore, ManifestReader
from autosteer_core.run import read_record
from autosteer_core.values import Item, Label
from infra.open_store import open_store
from infra.review_files import ReviewTable
from pipelines.flagged_items import review_tables
from pipelines.labels import add_statements, now, read_statements
from pipelines.review_page import Page
from pipelines.run_items import item_at, items_of_run
from pipelines.settings import Settings
from pipelines.single_keys import SingleKeys

LABELS = {"h": Label.HARMFUL, "b": Label.BENIGN}
IN_HAND = 10  # decisions that an undo can always take back; twice as many are lost at most, where power fails


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """`who` is the reviewer; `run_id` limits it to one run, whose manifest may be at another place now."""

    registry: str
    who: str
    settings: Settings
    run_id: str | None = None
    manifest: str | None = None
    limit: int | None = None


@dataclass(slots=True)
class Reviewed:
    """How many items got which label, how many were skipped or are not what was flagged, and how many are left."""

    harmful: int = 0
    benign: int = 0
    skipped: int = 0
    changed: int = 0
    left: int = 0

    def as_json(self) -> dict[str, int]:
        """As `--json` prints it."""
        return {name: getattr(self, name) for name in ("harmful", "benign", "skipped", "changed", "left")}


@dataclass(frozen=True, slots=True)
class _Waiting:
    table: ReviewTable
    row: Flagged


@dataclass(slots=True)
class Review:
    """One sitting: the items in order, what was decided, and what of it is not written yet."""

    request: ReviewRequest
    waiting: list[_Waiting]
    _store: BlobStore
    _decided: dict[int, Statement | None] = field(default_factory=dict)
    _written: set[int] = field(default_factory=set)
    _changed: set[int] = field(default_factory=set)
    _readers: dict[str, ManifestReader] = field(default_factory=dict)

    @classmethod
    def of(cls, request: ReviewRequest) -> "Review":
        """Items that no reviewer has spoken of; every content once.

        Raises:
            UserMistake: E_REVIEW_EMPTY, nothing was ever flagged here.
        """
        store = open_store(request.registry)
        tables = {table.run_id: table for table in review_tables(store)}
        if request.run_id is not None:
            tables = {run_id: table for run_id, table in tables.items() if run_id == request.run_id}
        if not tables:
            raise UserMistake(
                f"{store.describe()} holds no flagged items{' of this run' if request.run_id else ''}: "
                "run `autosteer flags OUT` first",
                "E_REVIEW_EMPTY",
            )
        done = {each.content for each in read_statements(store) if each.kind is LabellerKind.REVIEWER}
        return cls(request, _waiting(tables, done)[: request.limit], store)

    def run(self, page: Page, keys: SingleKeys) -> None:
        """Until all are decided or the person stops; what was decided is written then, whatever ended it."""
        place = 0
        try:
            while 0 <= place < len(self.waiting):
                going_to = self._one(place, page, keys)
                if going_to is None:
                    return
                place = going_to
        finally:
            self._write(keep=0)

    @property
    def result(self) -> Reviewed:
        """As far as it went."""
        said = [each.label for each in self._decided.values() if each is not None]
        skipped = len(self._decided) - len(said)
        left = len(self.waiting) - len(self._decided) - len(self._changed)
        return Reviewed(said.count(Label.HARMFUL), said.count(Label.BENIGN), skipped, len(self._changed), left)

    def _one(self, place: int, page: Page, keys: SingleKeys) -> int | None:
        """Where to go on; None to stop."""
        waiting = self.waiting[place]
        item = self._item(waiting)
        if item is None:
            self._changed.add(place)
            return place + 1
        page.show(waiting.row, item, waiting.table.run_id, f"{place + 1} of {len(self.waiting)}")
        while True:
            keys.forget()
            page.ask()
            key = keys.wait("hbsumq")
            if key != "m":
                break
            page.more(item)
        if key is None or key == "q":
            return None
        return self._back(place) if key == "u" else self._decide(place, key)

    def _decide(self, place: int, key: str) -> int:
        self._decided.pop(place, None)  # so that it is the latest now
        self._written.discard(place)
        self._decided[place] = self._statement(self.waiting[place], LABELS[key]) if key in LABELS else None
        if len(self._in_hand()) >= 2 * IN_HAND:
            self._write(keep=IN_HAND)
        return place + 1

    def _statement(self, waiting: _Waiting, label: Label) -> Statement:
        row, who = waiting.row, self.request.who
        return Statement(row.content, row.item_id, label, who, LabellerKind.REVIEWER, now(), waiting.table.run_id)

    def _back(self, place: int) -> int:
        """To the item that was decided last; a decision that is written already stands until there is another."""
        if not self._decided:
            return place
        last = list(self._decided)[-1]
        if last not in self._written:
            del self._decided[last]
        else:
            self._decided = {last: self._decided.pop(last), **self._decided}
        return last

    def _in_hand(self) -> dict[int, Statement]:
        return {
            place: said for place, said in self._decided.items() if said is not None and place not in self._written
        }

    def _write(self, keep: int) -> None:
        hand = self._in_hand()
        ready = list(hand)[: max(0, len(hand) - keep)]
        if ready:
            add_statements(self._store, [hand[place] for place in ready])
            self._written.update(ready)

    def _item(self, waiting: _Waiting) -> Item | None:
        reader = self._readers.get(waiting.table.run_id)
        if reader is None:
            reader = self._readers[waiting.table.run_id] = self._opened(waiting.table)
        return item_at(reader, waiting.row.source, waiting.row.row, waiting.row.content)

    def _opened(self, table: ReviewTable) -> ManifestReader:
        run = read_record(open_store(table.out))
        return items_of_run(run, self.request.settings, self.request.manifest or table.manifest)


def _waiting(tables: Mapping[str, ReviewTable], done: set[bytes]) -> list[_Waiting]:
    found: dict[bytes, _Waiting] = {}
    for table in tables.values():
        for row in table.rows:
            if row.content not in done:
                found.setdefault(row.content, _Waiting(table, row))
    order = {id(row): place for place, row in enumerate(worth_most_first(each.row for each in found.values()))}
    return sorted(found.values(), key=lambda each: order[id(each.row)])
