"""The bundle that serves: a new one takes its place whole, or not at all."""

from collections.abc import Mapping

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_reading import Admitted, admit
from autosteer_core.bundle_signature import Trust
from autosteer_core.errors import BundleRefused


class BundleSlot:
    """Holds one admitted bundle; who reads `serving` sees the old one or the new one, never a mixture.

    Epochs only grow: to go back, sign the older bundle again at a later epoch, so that the order to go back is as
    provable as the bundle.
    """

    def __init__(self, first: Mapping[str, bytes], trust: Trust) -> None:
        self._trust = trust
        self._held = admit(first, trust)

    @property
    def serving(self) -> Bundle:
        """The last bundle that was accepted."""
        return self._held.bundle

    @property
    def epoch(self) -> int:
        """That of its signature."""
        return self._held.epoch

    def offer(self, files: Mapping[str, bytes]) -> Bundle:
        """Check everything, then exchange one reference.

        Raises:
            BundleRefused: not trusted, not sound, for another model, or of an earlier epoch; the old one serves on.
        """
        found = admit(files, self._trust)
        found.bundle.require(self.serving.fingerprint)
        self._require_later(found)
        self._held = found
        return found.bundle

    def _require_later(self, found: Admitted) -> None:
        if found.epoch < self.epoch:
            raise BundleRefused(
                f"the offered bundle is of epoch {found.epoch}, the one that serves of {self.epoch}: sign it again "
                f"at epoch {self.epoch} or later if it shall take over",
                "E_ARTIFACT_STALE",
            )
