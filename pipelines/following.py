"""A run that follows a registry: what is promoted there, as workers read it and as the driver watches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_signature import Trust
from autosteer_core.errors import UserMistake
from autosteer_core.registry import Registry
from autosteer_core.serving import Serving
from autosteer_core.values import BundleId
from pipelines.engines import load_backbone
from pipelines.kept_model import kept_model
from pipelines.registry_files import open_registry
from pipelines.settings import Settings
from workers.bundle_shelf import BundleShelf


@dataclass(frozen=True, slots=True)
class PromotedBundles:
    """What a registry says is to be served; nothing is written there."""

    registry: Registry
    address: str

    @classmethod
    def at(cls, address: str) -> "PromotedBundles":
        """Of the registry at a folder or s3:// address."""
        return cls(open_registry(address), address)

    def serving(self) -> Serving:
        """As BundleSource asks."""
        state = self.registry.state()
        if state.serving is None:
            raise UserMistake(
                f"nothing is promoted in registry {self.address}: run `autosteer promote` there, or name a --bundle",
                "E_REGISTRY_STAGE",
            )
        candidate = state.shadow if state.canary else None
        return Serving(state.epoch, state.serving, candidate, state.canary if candidate else 0.0)

    def files(self, bundle_id: BundleId) -> Mapping[str, bytes]:
        """As BundleSource asks."""
        return self.registry.files(bundle_id)

    def bundle(self, trust: Trust) -> Bundle:
        """The one that is promoted now, checked.

        Raises:
            BundleRefused: as `admit`.
            UserMistake: nothing is promoted, or its bytes are gone.
        """
        return admit(self.files(self.serving().promoted), trust).bundle


def is_following(settings: Settings) -> bool:
    """A bundle that is named wins over a registry."""
    return settings.bundle is None and settings.registry is not None


def followed_shelf(address: str, settings: Settings, trust: Trust) -> BundleShelf:
    """A shelf of this process's model that holds what is promoted; the model is loaded before it is asked for.

    Raises:
        BundleRefused: it is not trusted, not sound, or of another model.
        UserMistake: nothing is promoted.
    """
    shelf = BundleShelf(trust, partial(_placed, kept_model(settings, load_backbone).backbone))
    shelf.take(PromotedBundles.at(address))
    return shelf


def _placed(backbone: Backbone, bundle: Bundle) -> Bundle:
    bundle.require_model(backbone)
    return bundle.to(backbone.model.device)
