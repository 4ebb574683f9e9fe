"""Which bundle serves: an audit log that each change is one entry of, and the bundles beside it.

A bundle's bytes are written before the entry that tells of them, and an entry only where nobody wrote one in between:
who dies on the way leaves the state before or after, and bytes that nobody reads. The entry that lets workers read a
bundle holds the bundle's signature at an epoch that is the entry's own number, so an earlier order cannot be played
again.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from autosteer_core.audit_log import Deed, Head, append_after, damaged, entries_after, head, holds
from autosteer_core.bundle import Bundle
from autosteer_core.bundle_names import CARD, SIGNATURE
from autosteer_core.bundle_reading import from_files
from autosteer_core.errors import BundleRefused, UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.published_bundles import get_bundle, put_bundle
from autosteer_core.registry_state import OVER, Published, Stage, State, after
from autosteer_core.values import BundleId

__all__ = ["Published", "Registry", "Sign", "Stage", "State"]

MOST_REASON = 2_000
_FIRST_EPOCH = 0
Sign = Callable[[bytes, int], bytes]  # a card and an epoch to `signature.json`
_Subject = dict[str, Any] | None


class Registry:
    """Over a store that others write to as well; safe to call from several threads.

    `now` gives UTC, ISO 8601. Without `sign` it can be read, and nothing made to serve. `noted` hears of the head of
    the log after each write; `known` tells the last that was heard of, and proves that the log was not cut since: an
    older promotion cannot be played again by removing the later ones. An empty log passes, as nothing serves by it.
    `read` is asked before a bundle is signed: it refuses one that nobody trusted has vouched for, so that whoever can
    only write to the store gets no signature of ours.
    """

    def __init__(
        self,
        store: BlobStore,
        now: Callable[[], str],
        sign: Sign | None = None,
        noted: Callable[[Head], None] = lambda _: None,
        known: Callable[[], Head | None] = lambda: None,
        read: Callable[[Mapping[str, bytes]], Bundle] = from_files,
    ) -> None:
        self._store, self._now, self._sign, self._read = store, now, sign, read
        self._noted, self._heard = noted, known
        self._state: State | None = None
        self._lock = Lock()

    def state(self) -> State:
        """As it is now: only entries that are new since the last call are read.

        Raises:
            UserMistake: E_AUDIT_LOG, the log is not as it was written.
        """
        with self._lock:
            self._state = self._first_read() if self._state is None else self._read_on(self._state)
            return self._state

    def publish(self, files: Mapping[str, bytes], about: Published) -> BundleId:
        """Keep a bundle as a candidate; the same again is no change, and brings back bytes that were lost.

        Raises:
            BundleRefused: it could not be read again, so it is not written.
        """
        fingerprint = from_files(files).fingerprint
        bundle_id = put_bundle(self._store, {**self._own_signature(files), **files})
        subject = about.subject() | {"bundle_id": bundle_id, "fingerprint": str(fingerprint)}
        self._write(Deed.BUNDLE_PUBLISHED, lambda state: None if bundle_id in state.records else subject)
        return bundle_id

    def refuse(self, bundle_id: BundleId, reasons: Sequence[str], who: str = "") -> State:
        """It did not pass: it will never serve. Ends its shadow scoring or canary."""
        said = {"bundle_id": bundle_id, "reason": _reason(_shortened("; ".join(reasons))), "who": who}

        def subject(state: State) -> _Subject:
            self._not_serving(state, bundle_id, "refused")
            return None if state.stages.get(bundle_id) == Stage.REFUSED else said

        return self._write(Deed.BUNDLE_REFUSED, subject)

    def recall(self, bundle_id: BundleId, reason: str, who: str) -> State:
        """What it touched is to be done again: it will never serve again.

        Raises:
            UserMistake: E_REGISTRY_STAGE, it serves; E_REGISTRY_UNKNOWN.
        """
        said = {"bundle_id": bundle_id, "reason": _reason(reason), "who": who}

        def subject(state: State) -> _Subject:
            self._known(state, bundle_id)
            self._not_serving(state, bundle_id, "recalled")
            return None if state.stages[bundle_id] == Stage.RECALLED else said

        return self._write(Deed.BUNDLE_RECALLED, subject)

    def shadow(self, bundle_id: BundleId, reason: str, who: str = "", expected: int | None = None) -> State:
        """Score it on all rows, and let it decide none: it takes the place of another one, and ends a canary."""
        said = {"bundle_id": bundle_id, "reason": _reason(reason), "who": who}

        def subject(state: State) -> _Subject:
            self._not_serving(state, bundle_id, "tried")
            if (state.shadow, state.canary) == (bundle_id, 0.0):
                return None
            return said | {"signature": self._signature(state, bundle_id)}

        return self._write(Deed.BUNDLE_SHADOWED, subject, expected)

    def canary(
        self, bundle_id: BundleId, share: float, reason: str, who: str = "", expected: int | None = None
    ) -> State:
        """Let it decide a share of the parts, [0, 1); at 0 it is only scored.

        Raises:
            UserMistake: E_REGISTRY_STAGE, it is not the one that is scored, or nothing serves beside it.
        """
        if not 0 <= share < 1:
            raise UserMistake(f"a canary's share is {share}, expected 0 to below 1: to serve all parts, promote it")
        said = {"bundle_id": bundle_id, "share": share, "reason": _reason(reason), "who": who}

        def subject(state: State) -> _Subject:
            self._can_be_canary(state, bundle_id)
            return None if state.canary == share else said | {"signature": self._signature(state, bundle_id)}

        return self._write(Deed.CANARY_STARTED, subject, expected)

    def promote(self, bundle_id: BundleId, reason: str, who: str, expected: int | None = None) -> State:
        """Let it serve: parts that are claimed from now on are judged by it. Of the one that serves, no change.

        `expected` is the number of the state that the decision was based on.

        Raises:
            UserMistake: E_REGISTRY_MOVED, what serves or is tried was changed since; E_REGISTRY_STAGE, it was refused
                or recalled; E_REGISTRY_UNKNOWN; E_REGISTRY_BUNDLE, its bytes are gone.
            BundleRefused: damaged, not trusted, or of another model than the one that serves.
        """
        said = {"bundle_id": bundle_id, "reason": _reason(reason), "who": who}

        def subject(state: State) -> _Subject:
            if state.serving == bundle_id:
                return None
            return said | {"signature": self._signature(state, bundle_id)}

        return self._write(Deed.BUNDLE_PROMOTED, subject, expected)

    def roll_back(self, reason: str, who: str, to: BundleId | None = None, expected: int | None = None) -> State:
        """Let the bundle serve that served before, or the one named, if it served once.

        One that was left by a rollback is never gone back to unless it is named.

        Raises:
            UserMistake: as `promote`; E_REGISTRY_STAGE too where there is none to go back to.
        """
        said = {"reason": _reason(reason), "who": who}

        def subject(state: State) -> _Subject:
            target = to or self._before(state)
            if target == state.serving:
                return None
            self._has_served(state, target)
            return said | {"bundle_id": target, "signature": self._signature(state, target)}

        return self._write(Deed.ROLLED_BACK, subject, expected)

    def tell(self, deed: Deed, subject: Mapping[str, Any], expected: int | None = None) -> State:
        """Write an entry that is not about a bundle's stage; with `expected`, only right after that entry.

        Raises:
            UserMistake: E_REGISTRY_MOVED, another entry came in between.
        """
        while True:
            state = self.state()
            if expected is not None and state.number != expected:
                raise self._moved(state, expected)
            if self._appended(state, deed, subject):
                return self.state()

    def files(self, bundle_id: BundleId) -> dict[str, bytes]:
        """Its files, with the latest signature that the log holds for it.

        Raises:
            UserMistake: E_REGISTRY_BUNDLE, a file is gone.
        """
        return self._files(self.state(), bundle_id)

    def _files(self, state: State, bundle_id: BundleId) -> dict[str, bytes]:
        signature = state.signatures.get(bundle_id)
        found = get_bundle(self._store, bundle_id)
        return found if signature is None else found | {SIGNATURE: signature.encode()}

    def _first_read(self) -> State:
        """Entries are asked for by number, so one that is missing in the middle would look like the end."""
        last = head(self._store)
        state = self._read_on(State())
        if last is not None and state.number < last.number:
            raise damaged(self._store, f"entry {state.number + 1} is missing")
        self._require_what_was_heard(state)
        return state

    def _require_what_was_heard(self, state: State) -> None:
        known = self._heard()
        if known and state.number and not holds(self._store, known):
            raise damaged(
                self._store,
                f"entry {known.number} is gone that was noted on this machine, in audit_heads.jsonl of its state "
                "folder (remove the lines there if the log was made anew on purpose)",
            )

    def _read_on(self, state: State) -> State:
        for entry in entries_after(self._store, state.head):
            try:
                state = after(state, entry)
            except (KeyError, TypeError, ValueError):
                raise damaged(self._store, f"entry {entry.number} lacks what `{entry.deed}` needs") from None
        return state

    def _write(self, deed: Deed, subject: Callable[[State], _Subject], expected: int | None = None) -> State:
        """Decide by the newest state, and again where another was faster; no subject: nothing is to be done."""
        while True:
            state = self.state()
            if expected is not None and state.moved > expected:
                raise self._moved(state, expected)
            found = subject(state)
            if found is None or self._appended(state, deed, found):
                return self.state()

    def _appended(self, state: State, deed: Deed, subject: Mapping[str, Any]) -> bool:
        written = append_after(self._store, state.head, deed, subject, self._now())
        if written is not None:
            self._noted(written)
        return written is not None

    def _signature(self, state: State, bundle_id: BundleId) -> str:
        """For the entry after `state`, of a bundle that could be loaded now and may serve."""
        self._known(state, bundle_id)
        stage = state.stages[bundle_id]
        if stage in OVER:
            raise _wrong_stage(f"bundle {bundle_id} was {stage} and cannot serve: retrain, and promote another")
        if self._sign is None:
            raise UserMistake("this registry was opened without a key, to be read: open it with one to change it")
        files = self._files(state, bundle_id)
        found = self._read(files)
        if state.serving and found.fingerprint != state.records[state.serving].fingerprint:
            raise BundleRefused(
                f"bundle {bundle_id} was fitted on model {found.fingerprint[:12]}, the one that serves on "
                f"{state.records[state.serving].fingerprint[:12]}: give every model a registry of its own",
                "E_ARTIFACT_BASE",
            )
        return self._sign(files[CARD], state.number + 1).decode()

    def _own_signature(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """This machine's signature, for what came without one: a folder of a registry can be served by itself."""
        return {SIGNATURE: self._sign(files[CARD], _FIRST_EPOCH)} if self._sign else {}

    def _known(self, state: State, bundle_id: BundleId) -> None:
        if bundle_id not in state.records:
            raise UserMistake(
                f"{self._store.describe()} has no bundle {bundle_id}: see `autosteer bundles`, or publish it first",
                "E_REGISTRY_UNKNOWN",
            )

    def _not_serving(self, state: State, bundle_id: BundleId, what: str) -> None:
        if state.serving == bundle_id:
            raise _wrong_stage(f"bundle {bundle_id} serves and cannot be {what}: roll back first, or promote another")

    def _can_be_canary(self, state: State, bundle_id: BundleId) -> None:
        if state.serving is None:
            raise _wrong_stage("no bundle serves yet that a canary could be compared with: promote one first")
        if state.shadow != bundle_id:
            raise _wrong_stage(
                f"bundle {bundle_id} is not the one that is scored ({state.shadow or 'none is'}): "
                f"run `autosteer shadow {bundle_id}` first"
            )

    def _before(self, state: State) -> BundleId:
        if state.before is None:
            raise _wrong_stage(
                f"no bundle served before {state.serving or 'the first'} that could serve again: name one with --to"
            )
        return state.before

    def _has_served(self, state: State, bundle_id: BundleId) -> None:
        self._known(state, bundle_id)
        if not any(move.bundle_id == bundle_id for move in state.history if move.deed == Deed.BUNDLE_PROMOTED):
            raise _wrong_stage(f"bundle {bundle_id} never served: promote it, if it shall")

    def _moved(self, state: State, expected: int) -> UserMistake:
        return UserMistake(
            f"{self._store.describe()} is at entry {state.number}, the decision was based on entry {expected}, and "
            "another change came in between: look at `autosteer bundles` and decide again",
            "E_REGISTRY_MOVED",
        )


def _wrong_stage(what: str) -> UserMistake:
    return UserMistake(what, "E_REGISTRY_STAGE")


def _shortened(text: str) -> str:
    """The reasons of a program may be many: the first ones are enough to refuse."""
    return text if len(text) <= MOST_REASON else f"{text[: MOST_REASON - 3]}..."


def _reason(text: str) -> str:
    said = text.strip()
    if not 0 < len(said) <= MOST_REASON:
        raise UserMistake(
            f"a reason of {len(said)} characters, expected 1 to {MOST_REASON:,}: say why, in a sentence"
        )
    return said
