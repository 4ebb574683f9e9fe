"""A registry as tests need it: signed by the tests' own key, and bundles that differ in one number."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_signature import Signer
from autosteer_core.ports import BlobStore
from autosteer_core.registry import Published, Registry
from autosteer_core.values import BundleId
from tests.bundle_bytes import OURS, Files
from tests.tiny_bundle import tiny_bundle

AT = "2026-01-01T00:00:00.000+00:00"


def sign(card: bytes, epoch: int) -> bytes:
    return Signer(OURS, epoch).signature(card)


def registry(store: BlobStore) -> Registry:
    """Opened anew, as another process would; `tests.bundle_bytes.TRUST` trusts its signatures."""
    return Registry(store, lambda: AT, sign)


def numbered(number: int, model: str = "a" * 64) -> Bundle:
    """A bundle that no other number gives."""
    made = tiny_bundle(cast(Backbone, SimpleNamespace(fingerprint=model)))
    return replace(made, report={**made.report, "number": number})


def files(number: int, model: str = "a" * 64) -> Files:
    """As `to_files` gives them: unsigned."""
    return to_files(numbered(number, model))


def published(store: BlobStore, count: int) -> list[BundleId]:
    """Candidates 0, 1, ... in a registry."""
    return [registry(store).publish(files(number), Published(seed=number)) for number in range(count)]
