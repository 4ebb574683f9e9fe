"""Which row of a stream belongs to which part: parts are begun one after another and end in any order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from autosteer_core.records import NotConserved
from autosteer_core.values import Item, Lease, Verdict


@dataclass(slots=True, eq=False)
class OpenPart:
    """A leased part whose rows are in work; `verdicts` by place in the stream, so in the order of its rows."""

    lease: Lease
    asked: int = 0
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Every row has its verdict."""
        return len(self.verdicts) == self.lease.part.rows

    def in_order(self) -> list[Verdict]:
        """The verdicts in the order of the rows."""
        return [self.verdicts[place] for place in sorted(self.verdicts)]


class OpenParts:
    """The parts that one stream of items has begun and not finished."""

    def __init__(self) -> None:
        self._parts: list[OpenPart] = []
        self._asked: dict[int, OpenPart] = {}
        self._place = 0

    def __len__(self) -> int:
        return len(self._parts)

    def leases(self) -> list[Lease]:
        """Those of all open parts."""
        return [part.lease for part in self._parts]

    def begin(self, lease: Lease, items: Iterator[Item], kept: Callable[[Lease], bool]) -> Iterator[Item]:
        """The part's items, each given the next place of the stream, as long as its lease is kept.

        Raises:
            NotConserved: the manifest gives other rows than the part has.
        """
        part = OpenPart(lease)
        self._parts.append(part)
        for item in items:
            if not kept(lease):
                return
            self._asked[self._place] = part
            self._place += 1
            part.asked += 1
            yield item
        if part.asked != lease.part.rows:
            raise NotConserved(f"part {lease.part.part_id} has {lease.part.rows} rows, {part.asked} items came")

    def take(self, place: int, verdict: Verdict) -> OpenPart | None:
        """The part that this verdict made whole, which is open no more."""
        part = self._asked.pop(place)
        part.verdicts[place] = verdict
        if not part.whole or part not in self._parts:
            return None
        self._parts.remove(part)
        return part

    def drop(self, kept: Callable[[Lease], bool]) -> None:
        """Forget parts whose leases are lost; what is still in work of them will make nothing whole."""
        self._parts = [part for part in self._parts if kept(part.lease)]

    def require_none(self, kept: Callable[[Lease], bool]) -> None:
        """After the end of the stream.

        Raises:
            NotConserved: rows came back without a verdict.
        """
        self.drop(kept)
        for part in self._parts:
            raise NotConserved(
                f"part {part.lease.part.part_id} has {part.lease.part.rows} rows, {len(part.verdicts)} verdicts came"
            )
