"""A run: what was asked of which manifest, and the parts it is cut into."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosteer_core.cutting import RULE, Stretch, cut
from autosteer_core.errors import UserMistake
from autosteer_core.parts import Parts
from autosteer_core.ports import BlobStore

RECORD = "run.json"
FOLLOWING = "promoted"  # in place of a bundle's id: each part is of the bundle that is promoted when it is claimed


@dataclass(frozen=True, slots=True)
class Run:
    """Identity of a run: equal inputs and settings give an equal `run_id`, anything else is another run.

    Inputs are the bytes of the manifest's files. A picture that a row names by its path is not among them: if it
    changes behind its path, no run notices, and rows that are still to come are judged by what is there then.
    """

    kind: str
    manifest: str
    files: Sequence[tuple[str, int, str]]
    bundle_id: str
    settings: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values, as stored in the output folder. File contents count, the manifest's address does not."""
        return {
            "kind": self.kind,
            "files": [list(entry) for entry in self.files],
            "bundle_id": self.bundle_id,
            "settings": dict(self.settings),
            "cut": RULE,
        }

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the identity's SHA-256."""
        return _digest(self.identity)

    @property
    def rows(self) -> int:
        """Rows of the whole manifest."""
        return sum(rows for _, rows, _ in self.files)

    def parts(self, rows_per_part: int, stretches: Callable[[str], Iterable[Stretch]] | None = None) -> Parts:
        """Consecutive row ranges within each file; the same run always gives the same parts.

        `stretches` tells of each file what its rows cost (`ManifestReader.stretches`); without it all cost the same.
        """
        told = stretches or {name: [Stretch(rows, rows)] for name, rows, _ in self.files}.__getitem__
        return Parts(self.run_id, ((name, cut(told(name), rows_per_part)) for name, _, _ in self.files))


_UNKNOWN = "unknown"
_SAID = {"files": "manifest contents", "bundle_id": "bundle_id", "cut": "how this version cuts parts"}


def take_over(store: BlobStore, run: Run) -> bool:
    """Claim the output for this run; True if the same run had started here before.

    Raises:
        UserMistake: the output belongs to another run; the message names what differs.
    """
    record = json.dumps(run.identity | {"run_id": run.run_id, "manifest": run.manifest}, indent=1).encode()
    if store.put_if_absent(RECORD, record):
        _refuse_strangers(store)
        return False
    found = read_record(store)
    differing = _differences(found, run.identity)
    if differing:
        raise UserMistake(
            f"{store.describe()} holds another run, it differs in {', '.join(differing)}: "
            "choose an empty --out, or repeat the command with the first run's inputs and settings",
            "E_OUTPUT_EXISTS",
        )
    return True


def read_record(store: BlobStore) -> dict[str, Any]:
    """The stored identity with `run_id` and `manifest`; raises UserMistake where there is no run."""
    try:
        record: dict[str, Any] = json.loads(store.get(RECORD))
    except KeyError:
        raise UserMistake(f"{store.describe()} holds no run: name the --out of a generate or audit command") from None
    except ValueError as error:
        raise UserMistake(f"{RECORD} in {store.describe()} is damaged ({error}): choose another --out") from error
    return record


def identity_of(record: Mapping[str, Any]) -> str:
    """The `run_id` that a stored record must have, from what else it says."""
    return _digest({name: value for name, value in record.items() if name not in ("run_id", "manifest")})


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_strangers(store: BlobStore) -> None:
    """Verdicts without a record mean that somebody removed it: do not mix two runs."""
    if any(True for _ in store.keys("commits/")):
        store.delete(RECORD)
        raise UserMistake(
            f"{store.describe()} holds commits but no {RECORD}: choose an empty --out", "E_OUTPUT_EXISTS"
        )


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    if found.get("kind") != wanted["kind"]:
        return [f"kind ({found.get('kind')} there, {wanted['kind']} now)"]
    settings = _unequal(found.get("settings", {}), wanted["settings"])
    others = [said for name, said in _SAID.items() if found.get(name) != wanted[name]]
    return [*others, *settings]


def _unequal(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterable[str]:
    normal = json.loads(json.dumps(dict(wanted)))
    # An absent setting is not one that is None: an earlier version did not know it, and named its parts otherwise.
    pairs = {name: (found.get(name, _UNKNOWN), normal.get(name, _UNKNOWN)) for name in found.keys() | normal.keys()}
    return [f"{name} ({there} there, {now} now)" for name, (there, now) in sorted(pairs.items()) if there != now]
