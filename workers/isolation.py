"""Which row kills its worker: a part that crashed is halved until one row is left, and that one is set aside."""

import math

from autosteer_core.values import Action, Flaw, Item, Lease, Verdict

# A row alone is not blamed at once: its worker may have been killed for reasons of its own.
_CRASHES_OF_A_ROW = 3


def is_suspect(lease: Lease) -> bool:
    """Whether a worker died with this part, and halving it would tell more."""
    return lease.crashes > 0 and lease.part.rows > 1


def is_poison(lease: Lease) -> bool:
    """Whether this one row took its worker down alone, and with the parts that it was halved from often enough."""
    crashes = lease.crashes + lease.part.halvings
    return lease.part.rows == 1 and lease.crashes > 0 and crashes >= _CRASHES_OF_A_ROW


def poisoned(item: Item, lease: Lease) -> Verdict:
    """The row's error, so that it is told of and never lost."""
    crashes = lease.crashes + lease.part.halvings
    flaw = Flaw(
        "E_POISONED",
        f"workers died {crashes} times while they had this item, the last time with it alone: look at its picture "
        "and text, and at the workers' logs",
    )
    return Verdict(item.item_id, item.row, Action.ERROR, math.nan, flaw=flaw, annotation=item.annotation)
