"""What attempts that lost left in the store: invisible to readers, removed once nobody can be at work on it."""

from collections.abc import Collection, Iterator

from autosteer_core.commit import ACTIVATIONS, PARTS
from autosteer_core.erasures import erasures
from autosteer_core.ports import BlobStore
from autosteer_core.records import read_records

GRACE_SECONDS = 24 * 3600.0  # longer than any lease: a worker that is only slow may still commit its file


def garbage(
    store: BlobStore, grace_seconds: float = GRACE_SECONDS, named: Collection[str] | None = None
) -> Iterator[str]:
    """Keys of part files that no record names, and that are older than the grace.

    `named` is what the records name, where nothing more can be committed and they were read already.

    Raises:
        NotConserved: a record is damaged, so that it is not known what it names.
    """
    # Listed before the records are read: a file that is committed in between is named by them.
    keys = [*store.keys(PARTS), *store.keys(ACTIVATIONS)]
    if named is None:
        named = [key for record in read_records(store).commits.values() for key in record.keys]
    kept = {*named, *(each.activations.key for each in erasures(store) if each.activations)}
    for key in keys:
        if key not in kept and _age(store, key) >= grace_seconds:
            yield key


def collect(store: BlobStore, grace_seconds: float = GRACE_SECONDS, named: Collection[str] | None = None) -> int:
    """Remove it, and the remains of writes that never ended; returns how many things went."""
    keys = list(garbage(store, grace_seconds, named))
    for key in keys:
        store.delete(key)
    return len(keys) + store.sweep(grace_seconds)


def _age(store: BlobStore, key: str) -> float:
    try:
        return store.age(key)
    except KeyError:  # its own worker removed it
        return -1.0
