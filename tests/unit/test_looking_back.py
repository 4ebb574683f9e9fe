"""Replay, recall and erasure over a run in a folder that kept what was read of its items."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from autosteer_core.audit_log import Deed, entries
from autosteer_core.bundle import Bundle
from autosteer_core.commit import ACTIVATIONS, SEALED, is_sealed, unseal
from autosteer_core.erasures import ERASED, pieces_of
from autosteer_core.errors import UserMistake
from autosteer_core.records import NotConserved, RedoRecord, read_records, redo
from autosteer_core.values import Pooling, Site
from infra.activation_files import activations_from_parquet
from infra.folder_store import FolderStore
from infra.parquet_items import without_item
from pipelines.erasure import erase_item, erase_older
from pipelines.recall import recall
from pipelines.replay import Flip, regenerate, replay
from pipelines.retry import retry
from pipelines.status import run_status
from pipelines.verify import verify
from tests.kept_run import KeptRun, bundle

OTHER = bundle(7)


@pytest.fixture
def run(tmp_path: Path) -> KeptRun:
    return KeptRun(tmp_path / "run")


def gates(run: KeptRun, by: Bundle) -> dict[int, bool]:
    """What the bundle says of every row that was read, from what was measured."""
    risks = by.probe.risk(run.measured_ND).tolist()
    modality = {row: "image" if row % 3 == 0 else "text" for row in range(run.rows)}
    return {row: not risks[row] < by.threshold(modality[row]) for row in range(run.rows) if row != 5}  # type: ignore[arg-type]


def flipped(run: KeptRun) -> list[int]:
    before, now = gates(run, run.first), gates(run, OTHER)
    return [row for row in before if before[row] != now[row]]


def violations(run: KeptRun) -> list[str]:
    return [each.found for each in verify(run.out).violations]


def test_the_bundle_that_made_the_rows_flips_none(run: KeptRun) -> None:
    found = replay([run.out], run.first)

    assert (found.rows, found.read, found.flips) == (30, 29, [])
    assert found.as_json()["not_kept"] == 1


def test_another_bundle_flips_the_rows_that_it_would_have_judged_otherwise(run: KeptRun) -> None:
    found = replay([run.out], OTHER)

    assert sorted(flip.row for flip in found.flips) == flipped(run) != []
    now = gates(run, OTHER)
    assert all(flip.gate_open == now[flip.row] and flip.before is not flip.gate_open for flip in found.flips)
    assert (found.opened, found.closed) == (
        sum(now[row] for row in flipped(run)),
        sum(not now[row] for row in flipped(run)),
    )
    assert found.by_modality == Counter("image" if row % 3 == 0 else "text" for row in flipped(run))
    assert {flip.item_id for flip in found.flips} == {f"item-{row}" for row in flipped(run)}


def test_several_runs_are_replayed_as_one(run: KeptRun, tmp_path: Path) -> None:
    second = KeptRun(tmp_path / "second", rows=11, follows=False)

    found = replay([run.out, second.out], OTHER)

    assert found.rows == 41
    assert {flip.out for flip in found.flips} == {run.out, second.out}


def test_a_gate_that_only_the_second_look_opened_was_closed(run: KeptRun) -> None:
    """The probe's own word is compared, not what became of the answer."""
    before = replay([run.out], OTHER).flips
    late = next(row for row in range(30) if row != 5 and not gates(run, run.first)[row])
    made = run._verdict

    def looked(row: int, by: Bundle, risk: float) -> object:
        verdict = made(row, by, risk)
        return replace(verdict, gate_open=True, opened_after=3) if row == late else verdict

    run._verdict = looked  # type: ignore[method-assign,assignment]
    for key in list(run.store.keys("commits/")):
        run.store.delete(key)
    run.repeat(run.first)

    def told(flips: list[Flip]) -> list[tuple[int, bool | None]]:
        return sorted((flip.row, flip.before) for flip in flips)

    assert told(replay([run.out], OTHER).flips) == told(before)


def test_only_flipped_rows_are_done_again_and_by_the_bundle_that_serves(run: KeptRun) -> None:
    found = regenerate([run.out], OTHER, OTHER.bundle_id)

    assert found.reopened == len(flipped(run))
    assert not is_sealed(run.store)
    assert len(run.verdicts()) == 30 - found.reopened
    rows = run.verdicts(run.repeat(OTHER))
    assert [row.row for row in rows] == list(range(30))
    assert [row.row for row in rows if row.answer == OTHER.bundle_id] == flipped(run)
    assert violations(run) == []
    assert replay([run.out], OTHER).flips == []
    assert regenerate([run.out], OTHER, OTHER.bundle_id).reopened == 0


def test_a_regeneration_that_was_killed_in_the_middle_loses_no_row(run: KeptRun) -> None:
    part = run.parts[0]
    redo(run.store, RedoRecord(part.part_id, [[0, 3], [3, 8]], "replay"))  # killed before the rows were kept

    rows = run.verdicts(run.repeat(OTHER))

    assert [row.row for row in rows] == list(range(30))
    assert violations(run) == []


@pytest.mark.parametrize("serving", [None, "0" * 16])
def test_a_bundle_that_does_not_serve_cannot_do_rows_again(run: KeptRun, serving: str | None) -> None:
    with pytest.raises(UserMistake, match="is not the one that serves") as refused:
        regenerate([run.out], OTHER, serving)
    assert refused.value.code == "E_NOT_PROMOTED" and is_sealed(run.store)


def test_a_run_with_one_bundle_for_good_is_told_what_to_do(tmp_path: Path) -> None:
    run = KeptRun(tmp_path, follows=False)
    for call in (
        lambda: regenerate([run.out], OTHER, OTHER.bundle_id),
        lambda: recall([run.out], run.first.bundle_id, OTHER.bundle_id),
    ):
        with pytest.raises(
            UserMistake, match="repeat its command with the other --bundle and a new --out"
        ) as refused:
            call()
        assert refused.value.code == "E_PINNED" and is_sealed(run.store)
    assert recall([run.out], OTHER.bundle_id, None).rows == 0


def test_activations_of_other_sites_are_not_read(run: KeptRun) -> None:
    elsewhere = replace(OTHER, sites=(Site(1, Pooling.LAST), Site(3, Pooling.MEAN)))
    with pytest.raises(UserMistake, match="at 2 last, 3 mean, the bundle reads 1 last, 3 mean") as refused:
        replay([run.out], elsewhere)
    assert refused.value.code == "E_REPLAY_ORIGIN"


def test_a_run_that_kept_nothing_and_one_that_has_no_gate_are_refused(run: KeptRun, tmp_path: Path) -> None:
    for key in list(run.store.keys("commits/")):
        run.store.put(key, json.dumps(json.loads(run.store.get(key)) | {"activations": None}).encode())
    with pytest.raises(UserMistake, match="keeps no activations"):
        replay([run.out], OTHER)
    judged = FolderStore(tmp_path / "judged")
    judged.put("run.json", json.dumps({"settings": {"judge": "x"}}).encode())
    with pytest.raises(UserMistake, match="has no gate"):
        replay([str(tmp_path / "judged")], OTHER)


def test_a_changed_file_is_not_read(run: KeptRun) -> None:
    key = next(run.store.keys(ACTIVATIONS))
    data = bytearray(run.store.get(key))
    data[200] ^= 1
    run.store.put(key, bytes(data))
    with pytest.raises(NotConserved, match="was changed after its commit"):
        replay([run.out], OTHER)


def test_all_that_a_recalled_bundle_decided_is_done_again_and_nothing_else(tmp_path: Path) -> None:
    run = KeptRun(tmp_path, rows=30)
    for part in run.parts[2:]:  # the last two parts were of another bundle
        run.store.delete(f"commits/{part.part_id}.json")
    run.repeat(OTHER)
    before = run.store.get(SEALED)

    counted = recall([run.out], OTHER.bundle_id, run.first.bundle_id, dry_run=True)
    assert (counted.rows, is_sealed(run.store)) == (14, True)
    found = recall([run.out], OTHER.bundle_id, run.first.bundle_id)

    assert found.as_json() == counted.as_json() and not is_sealed(run.store)
    assert run.store.get(SEALED) == before  # readers go on with the old rows
    assert len(run.verdicts()) == 16
    rows = run.verdicts(run.repeat(run.first))
    assert {row.answer for row in rows if row.row != 5} == {run.first.bundle_id}
    assert recall([run.out], OTHER.bundle_id, run.first.bundle_id).rows == 0
    assert violations(run) == []
    assert [each.subject["reason"] for each in entries(run.store) if each.deed == Deed.ROWS_REOPENED] == ["recall"]


def test_a_bundle_that_serves_is_not_recalled(run: KeptRun) -> None:
    with pytest.raises(UserMistake, match="it would decide the rows again"):
        recall([run.out], run.first.bundle_id, run.first.bundle_id)
    assert is_sealed(run.store)


def everything(run: KeptRun) -> bytes:
    """Of all activations, whatever names their file."""
    return b"".join(
        row.vector
        for key in run.store.keys(ACTIVATIONS)
        for row in activations_from_parquet(run.store.get(key)).values()
    )


def test_what_was_read_of_an_item_is_in_no_file_any_more_and_all_else_is(run: KeptRun) -> None:
    vector = run.measured_ND[9].half().numpy().tobytes()
    before = run_status(run.out)["activation_bytes"]
    assert vector in everything(run)

    found = erase_item([run.out], "item-9")

    assert (found.rows, found.files) == (1, 1)
    assert vector not in everything(run) and len(everything(run)) == 28 * len(vector)
    assert violations(run) == [] and len(run.verdicts()) == 30
    assert replay([run.out], run.first).read == 28
    assert 0 < run_status(run.out)["activation_bytes"] < before
    [entry] = [each for each in entries(run.store) if each.deed == Deed.ITEM_ERASED]
    assert entry.subject["rows"] == 1 and "item-9" not in json.dumps(dict(entry.subject))
    assert erase_item([run.out], "item-9").rows == 0


def test_one_item_after_another_and_then_all_that_are_old(run: KeptRun) -> None:
    erase_item([run.out], "item-8")
    erase_item([run.out], "item-10")
    assert replay([run.out], run.first).read == 27
    assert erase_older([run.out], 3600).rows == 0

    found = erase_older([run.out], 0)

    assert found.rows == 27 and list(run.store.keys(ACTIVATIONS)) == []
    assert violations(run) == [] and run_status(run.out)["activation_bytes"] == 0
    assert replay([run.out], run.first).read == 0


def test_an_erased_row_stays_erased_when_others_of_its_part_are_done_again(run: KeptRun) -> None:
    erase_item([run.out], "item-2")

    assert retry(run.out, "all").rows == 1
    run.repeat(run.first)
    assert violations(run) == []
    found = regenerate([run.out], OTHER, OTHER.bundle_id)
    run.repeat(OTHER)

    assert found.reopened == len([row for row in flipped(run) if row != 2])
    assert violations(run) == []
    assert run.measured_ND[2].half().numpy().tobytes() not in everything(run)


def test_a_replaced_parts_file_is_erased_too(run: KeptRun) -> None:
    regenerate([run.out], OTHER, OTHER.bundle_id)
    run.repeat(OTHER)
    vector = run.measured_ND[9].half().numpy().tobytes()
    assert everything(run).count(vector) == 2

    erase_item([run.out], "item-9")

    assert vector not in everything(run)
    assert violations(run) == []


@pytest.mark.parametrize("step", ["file written", "record written"])
def test_an_erasure_that_died_on_the_way_is_ended_by_the_next(
    run: KeptRun, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector = run.measured_ND[9].half().numpy().tobytes()
    stop = {"file written": "put", "record written": "delete"}[step]

    def dies(self: FolderStore, *arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, stop, dies)
        with pytest.raises(KeyboardInterrupt):
            erase_item([run.out], "item-9")
    if step == "record written":
        assert "it holds rows that were erased: repeat `autosteer erase`" in violations(run)
    else:
        assert violations(run) == []

    erase_item([run.out], "item-9")

    assert vector not in everything(run)
    assert violations(run) == []


def test_the_erased_file_is_no_garbage(run: KeptRun) -> None:
    from autosteer_core.garbage import collect

    erase_item([run.out], "item-9")
    named = [key for record in read_records(run.store).current for key in record.keys]
    collect(run.store, 0.0, named)

    assert violations(run) == [] and replay([run.out], run.first).read == 28


def test_nothing_is_erased_while_workers_may_be_writing(run: KeptRun) -> None:
    unseal(run.store)
    with pytest.raises(UserMistake, match="is not finished") as refused:
        erase_item([run.out], "item-9")
    assert refused.value.code == "E_UNFINISHED"


@pytest.mark.parametrize(
    "record", [b"{", b"[]", b'{"part_id": "other", "pieces": [], "replaced": false, "activations": null}']
)
def test_a_damaged_record_of_an_erasure_is_named(run: KeptRun, record: bytes) -> None:
    run.store.put(f"{ERASED}{run.parts[0].part_id}.json", record)
    assert "is damaged" in violations(run)[0]


def test_rows_that_were_erased_and_are_there_again_are_found(run: KeptRun) -> None:
    """The control of `verify`: somebody brought the old file back from a copy."""
    [key] = [key for key in run.store.keys(ACTIVATIONS) if run.parts[1].part_id in key]
    data = run.store.get(key)
    erase_item([run.out], "item-9")
    assert violations(run) == []
    run.store.put(key, data)
    assert violations(run) == ["it holds rows that were erased: repeat `autosteer erase`"]


def test_rows_become_stretches() -> None:
    assert pieces_of([3, 1, 2, 7, 9, 8, 1]) == [[1, 4], [7, 10]]


def test_a_table_loses_the_rows_of_one_item_only(run: KeptRun) -> None:
    data = run.store.get(next(run.store.keys("parts/")))
    row = run.verdicts()[0]

    found, again = without_item(data, row.item_id), without_item(data, "nobody")

    assert found.rows == 1 and found.data is not None and row.item_id.encode() not in found.data
    assert (again.rows, again.data) == (0, data)
