"""What was done with an output: numbered entries, each holding the hash of the one before.

An entry that is edited, dropped, moved or doubled breaks the chain at its place. Whoever replaces the chain's end and
computes its hashes anew is found by a head that was noted elsewhere: number and hash of the last entry.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore

LOG = "audit/"
_BEGINNING = "0" * 64
_MOST_BYTES = 64 * 1024


class Deed(StrEnum):
    """What an entry tells of."""

    RUN_STARTED = "run started"
    RUN_FINISHED = "run finished"
    ROWS_REOPENED = "rows reopened"
    PARTS_BURIED = "parts buried"
    BUNDLE_PUBLISHED = "bundle published"
    BUNDLE_REFUSED = "bundle refused"
    BUNDLE_SHADOWED = "bundle shadowed"
    CANARY_STARTED = "canary started"
    BUNDLE_PROMOTED = "bundle promoted"
    ROLLED_BACK = "rolled back"
    BUNDLE_RECALLED = "bundle recalled"
    LABELS_ADDED = "labels added"
    ITEM_ERASED = "item erased"
    HOLDOUT_LOCKED = "holdout locked"
    RETRAIN_STARTED = "retrain started"
    RETRAIN_ENDED = "retrain ended"


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a log, as it is noted outside: `number:sha256`."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"

    @classmethod
    def parsed(cls, text: str) -> "Head":
        """Inverse of `str`; raises UserMistake for any other text."""
        found = re.fullmatch(r"([0-9]{1,9}):([0-9a-f]{64})", text)
        if found is None:
            raise UserMistake(f"{len(text)} characters are no head: expected NUMBER:SHA256, as a run prints it")
        return cls(int(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Entry:
    """`subject` holds ids, hashes and counts only, never content; `at` is UTC, ISO 8601."""

    number: int
    at: str
    deed: str
    subject: Mapping[str, Any]
    before: str

    def data(self) -> bytes:
        """The one way in which it is written: its hash is of these bytes."""
        values = {name: getattr(self, name) for name in ("number", "at", "deed", "subject", "before")}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @property
    def head(self) -> Head:
        """Of a log that ends here."""
        return Head(self.number, sha256(self.data()).hexdigest())


def append(store: BlobStore, deed: Deed, subject: Mapping[str, Any], at: str) -> Head:
    """Write it after the last entry; of several writers at once, each gets a number of its own."""
    while True:
        written = append_after(store, head(store), deed, subject, at)
        if written is not None:
            return written


def append_after(store: BlobStore, last: Head | None, deed: Deed, subject: Mapping[str, Any], at: str) -> Head | None:
    """Write it as the entry that follows `last`; None if another writer's follows it already: compare and set.

    Raises:
        UserMistake: the entry is longer than one that is read.
    """
    number, before = (1, _BEGINNING) if last is None else (last.number + 1, last.sha256)
    entry = Entry(number, at, str(deed), subject, before)
    data = entry.data()
    if len(data) > _MOST_BYTES:
        raise UserMistake(
            f"{deed}: an entry of {len(data):,} bytes does not fit into the audit log of {store.describe()}, "
            f"expected at most {_MOST_BYTES:,}: say it in fewer words"
        )
    return entry.head if store.put_if_absent(_key(number), data) else None


def append_once(store: BlobStore, deed: Deed, subject: Mapping[str, Any], at: str) -> Head:
    """The same, unless the latest entry of this deed says just that: for what may be done twice after a crash."""
    latest = next((entry for entry in reversed(list(entries(store))) if entry.deed == deed), None)
    if latest is not None and latest.subject == dict(subject):
        found = head(store)
        assert found is not None
        return found
    return append(store, deed, subject, at)


def entries(store: BlobStore) -> Iterator[Entry]:
    """All that can be read, in order; what cannot is told of by `breaks`."""
    for key in store.keys(LOG):
        entry = _parsed(store.get(key))
        if entry is not None:
            yield entry


def entries_after(store: BlobStore, last: Head | None) -> Iterator[Entry]:
    """Those that follow `last`, each asked for by its number: where there is none, that costs one look.

    Raises:
        UserMistake: E_AUDIT_LOG, an entry is not readable or does not follow the one before.
    """
    while True:
        number, before = (1, _BEGINNING) if last is None else (last.number + 1, last.sha256)
        try:
            data = store.get(_key(number))
        except KeyError:
            return
        entry = _parsed(data)
        if entry is None or (entry.number, entry.before) != (number, before) or entry.data() != data:
            raise damaged(store, f"{_key(number)} was changed, or does not follow the entry before it")
        yield entry
        last = entry.head


def holds(store: BlobStore, noted: Head) -> bool:
    """Whether the entry that was noted outside still is in the log, as it was."""
    try:
        return sha256(store.get(_key(noted.number))).hexdigest() == noted.sha256
    except KeyError:
        return False


def damaged(store: BlobStore, what: str) -> UserMistake:
    """Who acts by a log does nothing where it is not as it was written."""
    where = store.describe()
    return UserMistake(
        f"the audit log of {where} is damaged, {what}: see `autosteer audit-log verify {where}`, and bring the "
        "folder audit/ back from a copy",
        "E_AUDIT_LOG",
    )


def breaks(store: BlobStore, noted: Head | None = None) -> Iterator[tuple[str, str]]:
    """Key and what is wrong there, for every place where the log is not as it was written.

    `noted` is a head from outside: without one, a log that was cut at its end, or written anew, looks sound.
    """
    before, number, heads = _BEGINNING, 0, {}
    for number, key in enumerate(store.keys(LOG), start=1):
        data = store.get(key)
        entry = _parsed(data)
        if key != _key(number):
            yield key, f"entry {number} is not here: one was removed, added or renamed"
            return
        if entry is None or entry.number != number or entry.data() != data:
            yield key, "the entry was changed"
        elif entry.before != before:
            yield key, f"the entry does not follow entry {number - 1}: one of the two was replaced"
        before = sha256(data).hexdigest()
        heads[number] = before
    if noted is not None and heads.get(noted.number) != noted.sha256:
        what = "replaced" if noted.number in heads else f"removed, the log ends at {number}"
        yield _key(noted.number), f"the entry that was noted outside was {what}"


def head(store: BlobStore) -> Head | None:
    """Of the log as it stands; None where there is none."""
    keys = list(store.keys(LOG))
    if not keys:
        return None
    digits = keys[-1].removeprefix(LOG).removesuffix(".json")
    if not digits.isdigit():
        raise UserMistake(f"{keys[-1]} is no entry of the audit log: remove what is not ours from {store.describe()}")
    return Head(int(digits), sha256(store.get(keys[-1])).hexdigest())


def _key(number: int) -> str:
    return f"{LOG}{number:09d}.json"


def _parsed(data: bytes) -> Entry | None:
    try:
        values = json.loads(data) if len(data) <= _MOST_BYTES else None
        return Entry(**values) if isinstance(values, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None
