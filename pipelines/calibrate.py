"""Labelled manifest in, bundle out."""

import hashlib
import json
from dataclasses import dataclass, replace

from autosteer_core.bundle import Bundle
from autosteer_core.calibration import Calibration, CalibrationOptions, CalibrationSet, Say, calibrate
from autosteer_core.errors import UserMistake
from autosteer_core.golden_rows import with_golden
from autosteer_core.head_fitting import HeadOptions
from autosteer_core.operating_point import Bound
from autosteer_core.paper_form import PaperOptions, Schedule
from autosteer_core.ports import ManifestReader
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.refusals import Wordings
from autosteer_core.second_look_fitting import LookOptions
from autosteer_core.values import Item
from infra.column_map import ColumnMap
from infra.manifest_rows import refuse_no_rows
from infra.open_store import open_store
from pipelines.bundle_files import refuse_another_bundle, save_bundle
from pipelines.engines import load_backbone
from pipelines.kept_model import budget_of
from pipelines.materials import publish_calibration
from pipelines.reading import open_items
from pipelines.registry_files import open_registry
from pipelines.settings import Settings
from pipelines.signing import signer_of
from pipelines.wiring import all_items

# The released code takes 60,000 steps of 1e-5; these are 480 over 96 rows, as much larger as to go equally far.
PAPER = PaperOptions(head=Schedule(learning_rate=1.25e-3, batch=2, epochs=10, weight_decay=1e-2), head_rows=96)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The new bundle and where it was written; its controls lie below it, in `controls/`, but not in a registry."""

    bundle: Bundle
    address: str


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Labelled rows, unlabelled rows like those to be met (or none), and where the bundle goes.

    The settings may name a registry: then the bundle is a candidate there, and `out` may be left out.
    """

    manifest: str
    out: str | None
    settings: Settings
    columns: ColumnMap
    traffic: str | None = None


def calibrate_manifest(request: CalibrationRequest, say: Say) -> Calibrated:
    """Fit a bundle on every row of the manifest, sign it with this machine's key, write it to `out` and publish it.

    For a registry a fifth of the items is set apart: the locked holdout, which no bundle is ever made of.

    Raises:
        UserMistake: a row without a label, a broken row, too few rows, another bundle at `out`, or no usable key.
    """
    _refuse_nowhere(request)
    signer = signer_of(request.settings)
    reader = open_items(request.manifest, request.columns, request.settings)
    refuse_no_rows(reader.files(), request.manifest)
    given = CalibrationSet(_whole_items(reader), contents_hash(reader), _traffic(request))
    made = calibrate(load_backbone(request.settings), given, calibration_options(request.settings), say)
    if request.settings.registry is not None:
        made = replace(made, bundle=with_golden(made.bundle))
    addresses = []
    if request.out is not None:
        save_bundle(made.bundle, request.out, signer)
        for name, control in made.controls.items():
            save_bundle(control, f"{request.out.rstrip('/')}/controls/{name}", signer)
        addresses.append(request.out)
    if request.settings.registry is not None:
        addresses.append(_published(made, request.settings.registry, request.settings.seed))
    return Calibrated(made.bundle, addresses[0])


def _refuse_nowhere(request: CalibrationRequest) -> None:
    if request.out is not None:
        refuse_another_bundle(request.out)
    elif request.settings.registry is None:
        raise UserMistake("nothing says where the bundle goes: give --out, --registry, or both")


def _published(made: Calibration, registry: str, seed: int) -> str:
    bundle_id = publish_calibration(open_store(registry), open_registry(registry), made, seed)
    return f"{registry.rstrip('/')}/bundles/{bundle_id}"


def calibration_options(settings: Settings) -> CalibrationOptions:
    """What of the settings concerns calibration."""
    return CalibrationOptions(
        bound=Bound(settings.alpha, settings.delta, settings.bounds),
        seed=settings.seed,
        batch_rows=settings.batch_rows,
        budget=budget_of(settings),
        hold_out=settings.hold_out,
        sites=settings.probe_sites,
        probe=ProbeOptions(label_noise=settings.label_noise),
        head=HeadOptions(wordings=Wordings(tuple(settings.refusal_languages.split(",")))),
        look=LookOptions(max_new_tokens=settings.max_new_tokens) if settings.second_look else None,
        paper=PAPER if settings.paper_form else None,
        holdout=settings.registry is not None,
    )


def _traffic(request: CalibrationRequest) -> list[Item]:
    """Rows that cannot be read tell nothing of the traffic that can."""
    if request.traffic is None:
        return []
    return [
        item
        for item in all_items(open_items(request.traffic, request.columns, request.settings))
        if item.flaw is None
    ]


def contents_hash(manifest: ManifestReader) -> str:
    """SHA-256 over the manifest's files: the identity of a calibration set."""
    return hashlib.sha256(json.dumps([list(entry) for entry in manifest.files()]).encode()).hexdigest()


def _whole_items(reader: ManifestReader) -> list[Item]:
    items = all_items(reader)
    for item in items:
        if item.flaw is not None:
            raise UserMistake(
                f"item {item.item_id} is broken, {item.flaw.code}: {item.flaw.message} or remove the row"
            )
    return items
