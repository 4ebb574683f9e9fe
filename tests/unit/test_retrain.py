"""From labels to a candidate in a registry: what is published, refused, promoted or left alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autosteer_core.audit_log import Deed, entries
from autosteer_core.bundle_reading import from_files
from autosteer_core.errors import UserMistake
from autosteer_core.guarantee import Bounds
from autosteer_core.material import Material, Use
from autosteer_core.operating_point import Bound
from autosteer_core.registry import Published, Stage
from autosteer_core.retraining import retrain
from infra.folder_store import FolderStore
from pipelines.materials import kept_material
from pipelines.retrain import Learning, Outcome, Retrained, RetrainRequest, retrain_registry
from pipelines.retrain_lease import alone
from tests.registries import files, registry
from tests.retrainings import OPTIONS, REQUEST, learning, new_rows, serving
from tests.tiny_material import tiny_material
from tests.unit.test_retraining import parent_of, wrong_at_most


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "registry")


def retrained(store: FolderStore, given: Learning, request: RetrainRequest = REQUEST) -> Retrained:
    return retrain_registry(store, registry(store), given, request, lambda step: None)


def deeds(store: FolderStore) -> list[str]:
    return [entry.deed for entry in entries(store)]


def test_a_candidate_carries_its_parent_snapshot_holdout_and_metrics(store: FolderStore) -> None:
    parent = serving(store)

    done = retrained(store, learning(new_rows()))

    state = registry(store).state()
    assert done.outcome is Outcome.CANDIDATE and done.bundle_id and done.material
    record, first = state.records[done.bundle_id], state.records[parent]
    assert (record.parent, record.material, record.holdout) == (parent, done.material, first.holdout)
    assert record.metrics["auroc"] > 0.9
    assert (state.serving, state.stages[done.bundle_id]) == (parent, Stage.CANDIDATE)
    assert deeds(store)[-3:] == [Deed.RETRAIN_STARTED, Deed.BUNDLE_PUBLISHED, Deed.RETRAIN_ENDED]


def test_the_snapshot_has_the_parents_rows_with_their_uses_and_the_new_ones_with_some(store: FolderStore) -> None:
    parent = serving(store)

    done = retrained(store, learning(new_rows(40)))

    base_sha256 = registry(store).state().records[parent].material
    assert done.material and base_sha256
    snapshot, base = (kept_material(store, digest).material for digest in (done.material, base_sha256))
    assert snapshot.use_N[: len(base)].tolist() == base.use_N.tolist()
    assert len(snapshot) == len(base) + 40 and Use.NONE.value not in snapshot.use_N
    assert done.new_labels == 40


@pytest.mark.parametrize("bounds", Bounds)
def test_easy_new_rows_buy_no_errors_on_the_rows_that_the_parent_promised_on(
    store: FolderStore, bounds: Bounds
) -> None:
    easy = new_rows(3000, gap=9.0)
    easy.activation_ND[torch.from_numpy(~easy.harmful_N), 0] -= 6
    serving(store, rows=1000, gap=1.5)
    options = replace(OPTIONS, bound=Bound(0.3, 0.05, bounds))

    done = retrained(store, learning(easy), replace(REQUEST, options=options))

    assert done.bundle_id and done.material
    child = from_files(registry(store).files(done.bundle_id))
    held = tiny_material(1000, gap=1.5)
    held = held.take(held.rows(Use.THRESHOLD))
    assert wrong_at_most(child, held) <= 0.3
    everything = retrain(parent_of(), kept_material(store, done.material).material, options)
    assert wrong_at_most(everything, held) > 0.3


def test_a_label_that_was_corrected_counts_as_new(store: FolderStore) -> None:
    serving(store)
    given = learning(new_rows())

    def corrected(base: Material, rows: Material) -> tuple[Material, dict[str, int]]:
        return replace(base, harmful_N=base.harmful_N ^ (np.arange(len(base)) < 3)), {}

    assert retrained(store, replace(given, curate=corrected)).new_labels == 3


def test_a_refused_candidate_is_kept_with_every_reason_and_can_never_serve(store: FolderStore) -> None:
    serving(store)

    done = retrained(store, learning(new_rows(), ("E_GATE_FLOOR: too low", "E_GATE_SLICE: worse")))

    state = registry(store).state()
    assert done.outcome is Outcome.REFUSED and done.bundle_id
    assert state.stages[done.bundle_id] is Stage.REFUSED and done.bundle_id in state.records
    assert "too low; E_GATE_SLICE" in next(move.reason for move in state.moves() if move.deed == Deed.BUNDLE_REFUSED)
    with pytest.raises(UserMistake):
        registry(store).promote(done.bundle_id, "all the same", "a@b")


def test_very_many_reasons_are_all_told_and_as_many_logged_as_an_entry_has_room_for(store: FolderStore) -> None:
    serving(store)
    reasons = tuple(f"E_GATE_SLICE: {number} {'x' * 300}" for number in range(12))

    done = retrained(store, learning(new_rows(), reasons))

    assert done.reasons == reasons
    logged = next(move.reason for move in registry(store).state().moves() if move.deed == Deed.BUNDLE_REFUSED)
    assert logged.count("E_GATE_SLICE") == 6 and logged.endswith("; and 6 more")


def test_without_a_sign_off_a_candidate_that_passes_serves_at_once(store: FolderStore) -> None:
    serving(store)

    done = retrained(store, learning(new_rows()), replace(REQUEST, sign_off=False))

    assert done.outcome is Outcome.PROMOTED
    assert registry(store).state().serving == done.bundle_id


def test_one_that_was_promoted_meanwhile_is_not_replaced_by_a_child_of_the_one_before(store: FolderStore) -> None:
    serving(store)
    other = registry(store).publish(files(1, "0f" * 32), Published())
    quick = learning(new_rows())

    def late(*given: object) -> tuple[str, ...]:
        registry(store).promote(other, "an emergency", "a@b")
        return ()

    with pytest.raises(UserMistake) as refused:
        retrained(store, replace(quick, gate=late), replace(REQUEST, sign_off=False))

    assert refused.value.code == "E_REGISTRY_MOVED"
    assert registry(store).state().serving == other
    assert deeds(store)[-1] == Deed.RETRAIN_ENDED


def test_with_nothing_new_there_is_nothing_to_do_and_nothing_is_written(store: FolderStore) -> None:
    serving(store)
    before = deeds(store)

    for given in (new_rows(0), new_rows(5)):
        done = retrained(store, learning(given), replace(REQUEST, least=6))
        assert done.outcome is Outcome.NOTHING
    assert deeds(store) == before


def test_an_alarm_does_not_wait_for_the_number_of_labels(store: FolderStore) -> None:
    serving(store)

    done = retrained(store, learning(new_rows(5)), replace(REQUEST, least=100, alarm="drift in run r"))

    assert done.outcome is Outcome.CANDIDATE
    started = next(entry for entry in entries(store) if entry.deed == Deed.RETRAIN_STARTED)
    assert started.subject["alarm"] == "drift in run r"


def test_the_same_labels_again_make_no_second_candidate(store: FolderStore) -> None:
    serving(store)
    first = retrained(store, learning(new_rows()))

    again = retrained(store, learning(new_rows()))

    assert (again.outcome, again.bundle_id) == (Outcome.NOTHING, first.bundle_id)
    assert "was made from the same labels" in again.reasons[0]


def test_rows_of_the_locked_holdout_are_never_trained_on(store: FolderStore) -> None:
    parent = serving(store)
    held_sha256 = registry(store).state().records[parent].holdout
    assert held_sha256
    held = replace(kept_material(store, held_sha256).material, use_N=np.full(60, Use.NONE.value))

    done = retrained(store, learning(Material.joined([held, new_rows()])))

    assert done.new_labels == 40 and done.material
    assert not set(kept_material(store, done.material).material.content_N) & set(held.content_N)


def test_the_holdout_is_the_same_file_after_every_retraining(store: FolderStore) -> None:
    parent = serving(store)
    held = registry(store).state().records[parent].holdout
    before = store.get(f"materials/{held}.parquet")

    for seed in (1, 2):
        retrained(store, learning(new_rows(seed=seed)))

    assert store.get(f"materials/{held}.parquet") == before
    assert {record.holdout for record in registry(store).state().records.values()} == {held}


def test_a_second_retraining_is_refused_while_one_runs(store: FolderStore) -> None:
    serving(store)

    with (
        alone(store, registry(store), {"who": "c@d"}),
        pytest.raises(UserMistake, match="since .* by c@d") as refused,
    ):
        retrained(store, learning(new_rows()))

    assert refused.value.code == "E_RETRAIN_RUNS"
    assert retrained(store, learning(new_rows())).outcome is Outcome.CANDIDATE


def test_a_retraining_that_fails_says_so_in_the_log_and_stands_in_nobodys_way(store: FolderStore) -> None:
    serving(store)

    def broken(*given: object) -> tuple[str, ...]:
        raise UserMistake("no")

    with pytest.raises(UserMistake, match="no"):
        retrained(store, replace(learning(new_rows()), gate=broken))

    assert [entry.subject["outcome"] for entry in entries(store) if entry.deed == Deed.RETRAIN_ENDED] == ["failed"]
    assert retrained(store, learning(new_rows())).outcome is Outcome.CANDIDATE


def test_a_snapshot_that_was_changed_is_refused(store: FolderStore) -> None:
    parent = serving(store)
    base = registry(store).state().records[parent].material
    store.put(f"materials/{base}.parquet", store.get(f"materials/{base}.parquet") + b"x")

    with pytest.raises(UserMistake, match="is not what its name says"):
        retrained(store, learning(new_rows()))


def test_a_registry_in_which_nothing_serves_cannot_be_retrained(store: FolderStore) -> None:
    with pytest.raises(UserMistake, match="promote"):
        retrained(store, learning(new_rows()))


def test_a_bundle_that_came_without_its_material_cannot_be_retrained(store: FolderStore) -> None:
    opened = registry(store)
    opened.promote(opened.publish(files(1), Published()), "first", "a@b")

    with pytest.raises(UserMistake, match="without its labelled activations"):
        retrained(store, learning(new_rows()))
