"""Which bundle reads which item: the one that the run is pinned to, or the one that the item names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from autosteer_core.bundle import Bundle
from autosteer_core.risk_reading import RiskReader
from autosteer_core.values import BundleId, Item, Verdict

T = TypeVar("T")

# The bundle of that name, on the model's device and known to fit the model; KeyError for one that is not held.
Held = Callable[[BundleId], Bundle]


@dataclass(frozen=True, slots=True)
class Readers:
    """The reader of every item: `own` for those that name no bundle, otherwise one of what `held` gives."""

    own: RiskReader
    held: Held | None = None

    def of(self, item: Item) -> RiskReader:
        """Raises KeyError for a bundle that is not held: no other may take its place."""
        if item.under is None:
            return self.own
        if self.held is None:
            raise KeyError(item.under)
        return replace(self.own, bundle=self.held(item.under), under=item.under)


def audited_by(readers: Readers, items: Sequence[Item]) -> list[Verdict]:
    """Blocks below the probe layer run, nothing is decoded; one verdict an item, in order."""
    return grouped(readers, items, lambda item: item, RiskReader.audit)


def grouped(
    readers: Readers,
    rows: Sequence[T],
    item_of: Callable[[T], Item],
    judge: Callable[[RiskReader, Sequence[T]], list[Verdict]],
) -> list[Verdict]:
    """What `judge` says of the rows of each bundle, in the order of all rows; equal for any mixture of bundles.

    Rows of different bundles share no pass here: they meet in one call only around a swap.
    """
    places: dict[BundleId | None, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(item_of(row).under, []).append(place)
    found: dict[int, Verdict] = {}
    for own in places.values():
        chosen = [rows[place] for place in own]
        found |= zip(own, judge(readers.of(item_of(chosen[0])), chosen), strict=True)
    return [found[place] for place in range(len(rows))]
