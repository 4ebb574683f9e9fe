"""Whatever is done to a registry's log after it was written, nothing serves by it that was not ordered."""

from collections.abc import Callable
from random import Random

import pytest

from autosteer_core.audit_log import Head
from autosteer_core.errors import UserMistake
from autosteer_core.registry import Registry
from infra.memory_store import MemoryStore
from tests.registries import AT, published, registry
from tests.security.scale import SEED, scaled
from tests.security.test_audit_log_mutations import ENTRIES, MUTATE, keys

pytestmark = pytest.mark.security

MUTATIONS, BUNDLES = 1_000, 3


def written() -> tuple[MemoryStore, Head]:
    """A registry in which bundles took turns, and the head of its log as it was noted outside."""
    store = MemoryStore()
    ids = published(store, BUNDLES)
    for turn in range(ENTRIES - BUNDLES):
        registry(store).promote(ids[turn % BUNDLES], "its turn", "ann")
    noted = registry(store).state().head
    assert noted is not None and noted.number == ENTRIES
    return store, noted


def test_every_mutation_is_refused_or_leaves_nothing_that_serves(report: Callable[[str, object], None]) -> None:
    luck, total = Random(SEED), scaled(MUTATIONS)
    original, noted = written()
    for number in range(total):
        store = MemoryStore()
        for key in original.keys():
            store.put(key, original.get(key))
        MUTATE[number % len(MUTATE)](store, luck)
        try:
            state = Registry(store, lambda: AT, known=lambda: noted).state()
        except UserMistake as mistake:
            assert mistake.code == "E_AUDIT_LOG"
        else:
            assert not keys(store) and state.serving is None, (number, MUTATE[number % len(MUTATE)].__name__)
    report("mutations of a registry's log", f"{total} of {total} refused, or nothing served")


def test_without_a_noted_head_a_cut_end_lets_an_older_bundle_serve_again() -> None:
    """The control: this is what the noted head is for."""
    store, _ = written()
    last = registry(store).state().serving
    store.delete(keys(store)[-1])

    assert registry(store).state().serving not in (None, last)
