"""One retraining of a registry at a time: an entry that it began, and a lease that it renews while it lives.

The entry is the lock, for only one writer can add it after the state that it read. The lease tells a retraining that
runs from one that was killed: the next one ends that in its place.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from autosteer_core.audit_log import Deed, entries
from autosteer_core.errors import AutosteerError, UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.registry import Registry

LEASE_SECONDS = 20.0
_BEATS = 4  # in the time of a lease: the store's clock may count whole seconds
_FAILED = "failed"


@contextmanager
def alone(
    store: BlobStore, registry: Registry, about: Mapping[str, Any], seconds: float = LEASE_SECONDS
) -> Iterator[dict[str, Any]]:
    """Inside, no other retraining runs; what the block puts into the dict is told by the entry that ends it.

    Raises:
        UserMistake: E_RETRAIN_RUNS, another one runs.
    """
    own = uuid4().hex[:12]
    told: dict[str, Any] = {}
    with _renewed(store, own, seconds):
        _begin(store, registry, {**about, "retrain": own}, seconds)
        try:
            yield told
        except BaseException:
            told.setdefault("outcome", _FAILED)
            raise
        finally:
            registry.tell(Deed.RETRAIN_ENDED, {"retrain": own, **told})


def refuse_second(store: BlobStore, seconds: float = LEASE_SECONDS) -> list[str]:
    """Those that began and neither ended nor live; said early, so that nothing is read in vain.

    Raises:
        UserMistake: E_RETRAIN_RUNS, one lives.
    """
    unended = _unended(store)
    for name, entry in unended.items():
        if _age(store, name) < seconds:
            raise UserMistake(
                f"{store.describe()} is being retrained since {entry['at']} by {entry['who']}: wait until it ends "
                f"(a retraining that was killed counts as ended after {seconds:g} seconds)",
                "E_RETRAIN_RUNS",
            )
    return list(unended)


def _begin(store: BlobStore, registry: Registry, subject: Mapping[str, Any], seconds: float) -> None:
    while True:
        state = registry.state()
        dead = refuse_second(store, seconds)
        try:
            registry.tell(Deed.RETRAIN_STARTED, subject, expected=state.number)
        except UserMistake as error:
            if error.code != "E_REGISTRY_MOVED":
                raise
            continue  # whatever came first may have been another retraining
        for name in dead:
            registry.tell(Deed.RETRAIN_ENDED, {"retrain": name, "outcome": "died"})
            store.delete(_key(name))
        return


def _unended(store: BlobStore) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries(store):
        if entry.deed == Deed.RETRAIN_STARTED:
            found[str(entry.subject["retrain"])] = {"at": entry.at, "who": entry.subject.get("who", "")}
        elif entry.deed == Deed.RETRAIN_ENDED:
            found.pop(str(entry.subject["retrain"]), None)
    return found


def _age(store: BlobStore, name: str) -> float:
    try:
        return store.age(_key(name))
    except KeyError:
        return float("inf")


@contextmanager
def _renewed(store: BlobStore, name: str, seconds: float) -> Iterator[None]:
    """The lease is there before the entry is, and until after the entry that ends it."""
    over = Event()
    store.put(_key(name), b"")
    beats = Thread(target=_beat, args=(store, name, seconds / _BEATS, over), daemon=True)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join()
        store.delete(_key(name))


def _beat(store: BlobStore, name: str, every: float, over: Event) -> None:
    while not over.wait(every):
        try:
            store.put(_key(name), b"")
        except (AutosteerError, OSError):
            continue  # a store that answers again in time keeps the lease; else another may begin, which is safe


def _key(name: str) -> str:
    return f"retraining/{name}"
