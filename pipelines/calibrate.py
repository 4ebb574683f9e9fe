"""Labelled manifest in, bundle out."""

import hashlib
import json
from dataclasses import dataclass

from autosteer_core.bundle import Bundle
from autosteer_core.calibration import CalibrationOptions, Say, calibrate
from autosteer_core.errors import UserMistake
from autosteer_core.ports import ManifestReader
from autosteer_core.values import Item
from infra.column_map import ColumnMap
from pipelines.bundle_files import save_bundle
from pipelines.settings import Settings
from pipelines.wiring import all_items, load_backbone, open_items


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The new bundle and where it was written."""

    bundle: Bundle
    address: str


def calibrate_manifest(manifest: str, out: str, settings: Settings, columns: ColumnMap, say: Say) -> Calibrated:
    """Fit a bundle on every row of the manifest and write it to `out`.

    Raises:
        UserMistake: a row without a label, a broken row, too few rows, or another bundle at `out`.
    """
    reader = open_items(manifest, columns)
    items = all_items(reader)
    _refuse_broken(items)
    options = CalibrationOptions(settings.alpha, settings.delta, settings.seed, settings.batch_rows)
    bundle = calibrate(load_backbone(settings), items, contents_hash(reader), options, say)
    save_bundle(bundle, out)
    return Calibrated(bundle, out)


def contents_hash(manifest: ManifestReader) -> str:
    """SHA-256 over the manifest's files: the identity of a calibration set."""
    return hashlib.sha256(json.dumps([list(entry) for entry in manifest.files()]).encode()).hexdigest()


def _refuse_broken(items: list[Item]) -> None:
    for item in items:
        if item.flaw is not None:
            raise UserMistake(
                f"item {item.item_id} is broken, {item.flaw.code}: {item.flaw.message} or remove the row"
            )
