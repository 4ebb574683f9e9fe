"""Whatever is done to an audit log after it was written is told of."""

import json
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from random import Random

import pytest

from autosteer_core.audit_log import LOG, Deed, Head, append, breaks, head
from infra.memory_store import MemoryStore
from tests.security.scale import SEED, scaled

pytestmark = pytest.mark.security

ENTRIES, MUTATIONS = 12, 1_000


def written() -> tuple[MemoryStore, Head]:
    """A log, and its head as it was noted outside."""
    store = MemoryStore()
    for number in range(ENTRIES):
        append(store, list(Deed)[number % len(Deed)], {"run_id": f"run-{number}"}, f"2026-01-01T00:00:{number:02}Z")
    noted = head(store)
    assert noted is not None
    return store, noted


def keys(store: MemoryStore) -> list[str]:
    return list(store.keys(LOG))


def edit_a_byte(store: MemoryStore, luck: Random) -> None:
    key = luck.choice(keys(store))
    data = bytearray(store.get(key))
    data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
    store.put(key, bytes(data))


def edit_a_value(store: MemoryStore, luck: Random) -> None:
    key = luck.choice(keys(store))
    values = json.loads(store.get(key))
    values[luck.choice(["at", "deed", "before"])] += "0"
    store.put(key, json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def write_it_otherwise(store: MemoryStore, luck: Random) -> None:
    key = luck.choice(keys(store))
    store.put(key, json.dumps(json.loads(store.get(key)), indent=luck.randint(0, 3)).encode())


def drop(store: MemoryStore, luck: Random) -> None:
    store.delete(luck.choice(keys(store)))


def drop_and_close_the_gap(store: MemoryStore, luck: Random) -> None:
    names = keys(store)
    at = luck.randrange(len(names))
    left = [store.get(name) for name in names[:at] + names[at + 1 :]]
    store.delete(names[-1])
    for name, data in zip(names, left, strict=False):
        store.put(name, data)


def swap(store: MemoryStore, luck: Random) -> None:
    one, other = luck.sample(keys(store), 2)
    first, second = store.get(one), store.get(other)
    store.put(one, second)
    store.put(other, first)


def double(store: MemoryStore, luck: Random) -> None:
    store.put(f"{LOG}{ENTRIES + 1:09d}.json", store.get(luck.choice(keys(store))))


def cut_the_end(store: MemoryStore, luck: Random) -> None:
    for key in keys(store)[luck.randrange(ENTRIES) :]:
        store.delete(key)


def forge_the_end(store: MemoryStore, luck: Random) -> None:
    """Another course of events, with hashes that are right."""
    names = keys(store)
    start = luck.randrange(ENTRIES)
    before = sha256(store.get(names[start - 1])).hexdigest() if start else "0" * 64
    for number in range(start, ENTRIES):
        values = json.loads(store.get(names[number])) | {"before": before}
        values["subject"] = {"run_id": f"forged-{number}"}
        data = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
        store.put(names[number], data)
        before = sha256(data).hexdigest()


def put_something_else(store: MemoryStore, luck: Random) -> None:
    store.put(luck.choice(keys(store)), luck.choice([b"", b"{}", b"[]", b"null", b"\xff", b"[" * 10_000]))


MUTATE = [
    edit_a_byte, edit_a_value, write_it_otherwise, drop, drop_and_close_the_gap, swap, double, cut_the_end,
    forge_the_end, put_something_else,
]  # fmt: skip


def test_every_mutation_of_the_log_is_told_of(report: Callable[[str, object], None]) -> None:
    luck, seen, total = Random(SEED), Counter[str](), scaled(MUTATIONS)
    for number in range(total):
        store, noted = written()
        before = {key: store.get(key) for key in keys(store)}
        mutate = MUTATE[number % len(MUTATE)]
        mutate(store, luck)
        assert {key: store.get(key) for key in keys(store)} != before
        assert list(breaks(store, noted)), (number, mutate.__name__)
        seen[mutate.__name__] += 1
    report("mutations of the audit log, detected", f"{total} of {total}, {len(seen)} kinds")


def test_without_a_head_from_outside_a_cut_end_and_a_forged_one_go_unseen() -> None:
    """The control: this is what the noted head is for."""
    for mutate in (cut_the_end, forge_the_end):
        store, _ = written()
        mutate(store, Random(SEED))
        assert not list(breaks(store))
