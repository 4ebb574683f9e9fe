"""What a registry asks workers to serve: the promoted bundle, and beside it a candidate for some of the parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from autosteer_core.values import BundleId


@dataclass(frozen=True, slots=True)
class Serving:
    """`epoch` only grows: it is the number of the promotion or rollback that made `promoted` serve.

    `candidate` judges the share `canary` of all parts, from 0 to 1.
    """

    epoch: int
    promoted: BundleId
    candidate: BundleId | None = None
    canary: float = 0.0

    @property
    def bundles(self) -> tuple[BundleId, ...]:
        """All that a worker must hold."""
        return (self.promoted,) if self.candidate is None else (self.promoted, self.candidate)

    def bundle_for(self, part_id: str) -> BundleId:
        """By the part's id alone: whoever claims it, and however often, it is a canary or it is none."""
        if self.candidate is not None and _place(part_id) < self.canary:
            return self.candidate
        return self.promoted


class BundleSource(Protocol):
    """Where bundles are promoted; what it says may change at any time."""

    def serving(self) -> Serving:
        """What is to be served now; cheap to repeat.

        Raises:
            UserMistake: nothing was promoted yet.
        """
        ...

    def files(self, bundle_id: BundleId) -> Mapping[str, bytes]:
        """The bundle's files; its signature is of the epoch of its last promotion."""
        ...


def _place(part_id: str) -> float:
    """Uniform in [0, 1) over part ids, the same everywhere."""
    return int.from_bytes(sha256(f"canary {part_id}".encode()).digest()[:6]) / 2**48
