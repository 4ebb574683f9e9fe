"""The first bundle of a registry: its material, its locked holdout, and what a retraining finds of both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autosteer_core.audit_log import Deed, entries
from autosteer_core.bundle_reading import admit
from autosteer_core.calibration import Calibration, CalibrationSet, calibrate
from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import content_hash
from autosteer_core.labelled import equal_together, labelled, split
from autosteer_core.material import Use
from autosteer_core.retraining import RetrainOptions, retrain
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from pipelines.calibrate import CalibrationRequest, calibrate_manifest
from pipelines.materials import kept_material, publish_calibration
from pipelines.settings import load_settings
from tests.bundle_bytes import TRUST
from tests.registries import registry
from tests.tiny_model import tiny_llava_onevision
from tests.unit.test_calibration import OPTIONS, items

ITEMS = items()


@pytest.fixture(scope="module")
def made() -> Calibration:
    options = replace(OPTIONS, holdout=True)
    return calibrate(tiny_llava_onevision(), CalibrationSet(ITEMS, "5a" * 32), options, lambda step: None)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


def test_a_holdout_takes_its_rows_from_train_and_leaves_the_threshold_its_own() -> None:
    import torch

    data = labelled(ITEMS, torch.zeros(len(ITEMS), 1, 2, 4))

    without, with_one = split(data, 0), split(data, 0, holdout=True)

    assert with_one.threshold.tolist() == without.threshold.tolist()
    assert with_one.validation.tolist() == without.validation.tolist()
    assert sorted([*with_one.train, *with_one.holdout]) == without.train.tolist()
    assert not set(data.unit_N[with_one.holdout]) & set(data.unit_N[with_one.train])
    assert not len(without.holdout)


def test_items_that_show_the_same_are_of_one_unit_whatever_their_pairs_are() -> None:
    import torch

    twins = [replace(item, item_id=f"again {item.item_id}", annotation=replace(item.annotation, pair=f"again {row}"))
             for row, item in enumerate(ITEMS)]  # fmt: skip
    both = [*ITEMS, *twins]
    data = labelled(both, torch.zeros(len(both), 1, 2, 4))

    together = equal_together(data, [content_hash(item) for item in both])

    assert together.unit_N[: len(ITEMS)].tolist() == together.unit_N[len(ITEMS) :].tolist()
    assert together.units <= data.units and together.units > 1
    rows = split(together, 0, holdout=True)
    held = {content_hash(both[row]) for row in rows.holdout}
    assert not held & {content_hash(both[row]) for row in (*rows.train, *rows.validation, *rows.threshold)}


def test_the_material_tells_of_every_item_what_was_shown_and_what_it_was_used_for(made: Calibration) -> None:
    material = made.material

    assert material.content_N.tolist() == [content_hash(item) for item in ITEMS]
    assert material.origin.sites == made.bundle.sites
    sizes = {use.value: int((material.use_N == use.value).sum()) for use in Use if use is not Use.NONE}
    assert sizes.items() <= made.bundle.report["calibration_set"].items()
    assert sum(sizes.values()) == len(ITEMS)


def test_bundle_material_and_locked_holdout_lie_in_the_registry_and_have_no_row_in_common(
    made: Calibration, store: FolderStore
) -> None:
    bundle_id = publish_calibration(store, registry(store), made, 0)

    record = registry(store).state().records[bundle_id]
    assert record.material and record.holdout
    fitted, held = (kept_material(store, digest).material for digest in (record.material, record.holdout))
    assert set(held.use_N) == {Use.HOLDOUT.value} and Use.HOLDOUT.value not in fitted.use_N
    assert not set(held.content_N) & set(fitted.content_N) and not set(held.unit_N) & set(fitted.unit_N)
    (locked,) = (entry for entry in entries(store) if entry.deed == Deed.HOLDOUT_LOCKED)
    assert locked.subject["holdout"] == record.holdout
    assert admit(registry(store).files(bundle_id), TRUST).bundle.bundle_id == bundle_id


def test_publishing_the_same_calibration_again_changes_nothing(made: Calibration, store: FolderStore) -> None:
    publish_calibration(store, registry(store), made, 0)
    before = list(entries(store))

    publish_calibration(store, registry(store), made, 0)

    assert list(entries(store)) == before


def test_from_its_material_alone_a_bundle_is_fitted_again_to_the_same_quality(made: Calibration) -> None:
    rows = made.material.take(made.material.use_N != Use.HOLDOUT.value)

    again = retrain(made.bundle, rows, RetrainOptions())

    chosen, before = again.report["probe"], made.bundle.report["probe"]
    assert chosen[chosen["chosen"]]["auroc"] == pytest.approx(before[before["chosen"]]["auroc"], abs=0.02)
    assert again.guarantee.threshold == pytest.approx(made.bundle.guarantee.threshold, abs=0.05)
    assert np.isfinite(again.guarantee.threshold)


def test_a_calibration_that_would_go_nowhere_is_refused_before_the_work(tmp_path: Path) -> None:
    request = CalibrationRequest(str(tmp_path / "none.parquet"), None, load_settings(), ColumnMap())

    with pytest.raises(UserMistake, match="give --out, --registry, or both"):
        calibrate_manifest(request, lambda step: None)
