"""The bundles that a worker holds: checked before they are served, and kept until no part needs them any more."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_signature import Trust
from autosteer_core.errors import BundleRefused
from autosteer_core.serving import BundleSource, Serving
from autosteer_core.values import BundleId, Lease

log = logging.getLogger(__name__)

_Part = tuple[str, int]  # its id, and the token of the lease: a part that is claimed again is another user


@dataclass(slots=True)
class _Held:
    """A bundle on the model's device, the epoch of its signature, and the parts that it judges."""

    bundle: Bundle
    epoch: int
    users: set[_Part] = field(default_factory=set)


class BundleShelf:
    """Safe to use from several threads: one judges, another brings new bundles meanwhile.

    `place` puts a bundle on the model's device, and raises BundleRefused where it does not fit the model.
    A swap exchanges one reference. Whoever is in work goes on under its own bundle, and nothing waits for it.
    """

    def __init__(self, trust: Trust, place: Callable[[Bundle], Bundle]) -> None:
        self._trust = trust
        self._place = place
        self._lock = Lock()
        self._held: dict[BundleId, _Held] = {}
        self._offered: set[BundleId] = set()  # accepted, and not yet asked to be served
        self._pinned: dict[_Part, BundleId] = {}
        self._serving: Serving | None = None

    @property
    def serving(self) -> Serving | None:
        """What new claims are given; None before the first."""
        return self._serving

    @property
    def held(self) -> list[BundleId]:
        """Names of all bundles in memory, in order."""
        with self._lock:
            return sorted(self._held)

    def bundle(self, bundle_id: BundleId) -> Bundle:
        """The same object at every call; KeyError for one that is not held."""
        return self._held[bundle_id].bundle

    def offer(self, files: Mapping[str, bytes]) -> BundleId:
        """Check a bundle beside those that serve, and keep it until the next `serve` says whether it is needed.

        Raises:
            BundleRefused: not trusted, not sound, or for another model; nothing has changed.
        """
        found = admit(files, self._trust)
        # Outside of the lock: it takes longest, and the thread that judges shall not wait for it.
        name, placed = found.bundle.bundle_id, self._place(found.bundle)
        with self._lock:
            self._offered.add(name)
            held = self._held.setdefault(name, _Held(placed, found.epoch))
            held.epoch = max(held.epoch, found.epoch)
        return name

    def serve(self, serving: Serving) -> None:
        """From now on, claims are given these bundles; the same again is no change.

        Raises:
            BundleRefused: a bundle was not offered before, or this is not the latest of what was served; the old
                one serves on.
        """
        with self._lock:
            self._require_held(serving)
            self._require_later(serving)
            self._serving = serving
            self._offered.clear()
            self._tidy()

    def take(self, source: BundleSource) -> Serving:
        """What the source says now, offered and served: for a worker that has nothing yet.

        Raises:
            BundleRefused: as `offer`, of the bundle that is promoted; a candidate that is refused is left out.
            UserMistake: nothing is promoted.
        """
        serving = source.serving()
        self.offer(source.files(serving.promoted))
        if serving.candidate is not None:
            try:
                self.offer(source.files(serving.candidate))
            except BundleRefused as error:
                log.error("the candidate is refused, and judges no part here: %s", error)
                serving = replace(serving, candidate=None, canary=0.0)
        self.serve(serving)
        return serving

    def pin(self, lease: Lease) -> BundleId:
        """As Pins asks: by what is served at this moment."""
        with self._lock:
            assert self._serving is not None, "a worker takes its bundles before it claims"
            name = self._serving.bundle_for(lease.part.part_id)
            self._pinned[_user(lease)] = name
            self._held[name].users.add(_user(lease))
        return name

    def let_go(self, lease: Lease) -> None:
        """As Pins asks; the last one takes the bundle along, unless it serves."""
        with self._lock:
            name = self._pinned.pop(_user(lease), None)
            if name is not None:
                self._held[name].users.discard(_user(lease))
                self._tidy()

    def _require_held(self, serving: Serving) -> None:
        missing = [name for name in serving.bundles if name not in self._held]
        if missing:
            raise BundleRefused(f"bundle {missing[0]} was not offered to this worker: offer it, then ask again")

    def _require_later(self, serving: Serving) -> None:
        """By what is asked, and by what is signed: an order that comes late is as old as one played again."""
        if self._serving is None:
            return
        asked, signed = serving.epoch, self._held[serving.promoted].epoch
        least = self._held[self._serving.promoted].epoch
        if asked < self._serving.epoch or signed < least:
            raise BundleRefused(
                f"bundle {serving.promoted} is to be served at epoch {asked} and signed at {signed}, bundle "
                f"{self._serving.promoted} serves at {self._serving.epoch}, signed at {least}: promote it again if "
                "it shall take over",
                "E_ARTIFACT_STALE",
            )

    def _tidy(self) -> None:
        serves = self._serving.bundles if self._serving else ()
        needed = {*serves, *self._offered}
        self._held = {name: held for name, held in self._held.items() if held.users or name in needed}


def _user(lease: Lease) -> _Part:
    return lease.part.part_id, lease.token
