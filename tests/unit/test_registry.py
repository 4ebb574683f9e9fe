"""The life of a bundle in the registry: published, tried, promoted, left, and never half of it."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_slot import BundleSlot
from autosteer_core.errors import AutosteerError, BundleRefused, UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.registry import Published, Registry, Stage
from infra.folder_store import FolderStore
from infra.memory_store import MemoryStore
from tests.bundle_bytes import TRUST
from tests.registries import AT, files, numbered, published, registry

BUNDLES = [files(number) for number in range(4)]
IDS = [numbered(number).bundle_id for number in range(4)]


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(AutosteerError) as refused:
        act()
    return refused.value.code


@pytest.fixture
def store() -> BlobStore:
    return MemoryStore()


def test_an_empty_registry_serves_nothing(store: BlobStore) -> None:
    state = registry(store).state()

    assert (state.number, state.epoch, state.serving, state.shadow, state.canary) == (0, 0, None, None, 0)


def test_what_is_published_is_a_candidate_that_can_be_read_again(store: BlobStore) -> None:
    about = Published(None, "a" * 64, "b" * 64, {"auroc": 0.9, "nothing": float("nan")}, 7)
    bundle_id = registry(store).publish(files(1), about)
    state = registry(store).state()

    assert state.stages == {bundle_id: Stage.CANDIDATE}
    found = state.records[bundle_id]
    assert (found.material, found.holdout, found.seed) == ("a" * 64, "b" * 64, 7)
    assert found.metrics == {"auroc": 0.9, "nothing": None} and found.at and found.fingerprint == "a" * 64
    assert admit(registry(store).files(bundle_id), TRUST).bundle.bundle_id == bundle_id


def test_publishing_the_same_again_is_no_change_and_mends_what_was_lost(store: BlobStore) -> None:
    (bundle_id,) = published(store, 1)
    before = registry(store).state()
    store.delete(f"bundles/{bundle_id}/{WEIGHTS}")
    store.put(f"bundles/{bundle_id}/{CARD}", b"damaged")

    published(store, 1)

    assert registry(store).state() == before
    assert admit(registry(store).files(bundle_id), TRUST).bundle.bundle_id == bundle_id


def test_each_promotion_has_a_later_epoch_and_its_own_signature(store: BlobStore) -> None:
    first, second = published(store, 2)
    ours = registry(store)

    one = ours.promote(first, "the first", "ann")
    slot = BundleSlot(ours.files(first), TRUST)
    two = ours.promote(second, "better", "ben")
    slot.offer(ours.files(second))
    three = ours.roll_back("worse", "ann")
    slot.offer(ours.files(first))

    assert [one.epoch, two.epoch, three.epoch] == [3, 4, 5] == [one.number, two.number, three.number]
    assert (slot.epoch, slot.serving.bundle_id) == (5, first)
    assert [(move.who, move.reason, move.replaced) for move in three.moves()[2:]] == [
        ("ann", "the first", None), ("ben", "better", first), ("ann", "worse", second)
    ]  # fmt: skip
    assert three.stages == {first: Stage.PROMOTED, second: Stage.ROLLED_BACK}


def test_an_older_order_cannot_be_played_again(store: BlobStore) -> None:
    first, second = published(store, 2)
    ours = registry(store)
    ours.promote(first, "the first", "ann")
    slot, old = BundleSlot(ours.files(first), TRUST), ours.files(first)
    ours.promote(second, "better", "ann")
    slot.offer(ours.files(second))

    assert code_of(lambda: slot.offer(old)) == "E_ARTIFACT_STALE"


def test_going_back_twice_goes_further_back_and_never_to_what_was_left(store: BlobStore) -> None:
    ids = published(store, 3)
    ours = registry(store)
    for bundle_id in ids:
        ours.promote(bundle_id, "next", "ann")

    assert ours.roll_back("worse", "ann").serving == ids[1]
    assert ours.roll_back("worse too", "ann").serving == ids[0]
    assert code_of(lambda: ours.roll_back("and this", "ann")) == "E_REGISTRY_STAGE"
    assert ours.state().serving == ids[0]
    assert ours.roll_back("it was right", "ann", to=ids[2]).serving == ids[2]
    assert code_of(lambda: ours.roll_back("it was not", "ann")) == "E_REGISTRY_STAGE"


def test_only_what_served_can_be_gone_back_to(store: BlobStore) -> None:
    first, second = published(store, 2)
    registry(store).promote(first, "the first", "ann")

    assert code_of(lambda: registry(store).roll_back("why not", "ann", to=second)) == "E_REGISTRY_STAGE"


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_bundle_whose_bytes_are_gone_is_not_gone_back_to_and_the_current_one_stays(
    store: BlobStore, name: str
) -> None:
    first, second = published(store, 2)
    registry(store).promote(first, "the first", "ann")
    before = registry(store).promote(second, "better", "ann")
    store.delete(f"bundles/{first}/{name}")

    assert code_of(lambda: registry(store).roll_back("worse", "ann")) == "E_REGISTRY_BUNDLE"
    assert registry(store).state() == before

    published(store, 1)
    assert registry(store).roll_back("worse", "ann").serving == first


def test_a_damaged_bundle_is_not_promoted(store: BlobStore) -> None:
    (bundle_id,) = published(store, 1)
    weights = store.get(f"bundles/{bundle_id}/{WEIGHTS}")
    store.put(f"bundles/{bundle_id}/{WEIGHTS}", weights[:-1] + bytes([weights[-1] ^ 1]))

    assert code_of(lambda: registry(store).promote(bundle_id, "go", "ann")) == "E_ARTIFACT_UNTRUSTED"
    assert registry(store).state().serving is None


def test_a_bundle_of_another_model_does_not_replace_the_one_that_serves(store: BlobStore) -> None:
    (first,) = published(store, 1)
    ours = registry(store)
    ours.promote(first, "the first", "ann")
    other = ours.publish(files(1, "b" * 64), Published())

    for act in (lambda: ours.promote(other, "go", "ann"), lambda: ours.shadow(other, "look")):
        with pytest.raises(BundleRefused, match="registry of its own"):
            act()


def test_one_bundle_is_tried_at_a_time_and_a_canary_is_what_is_scored(store: BlobStore) -> None:
    first, second, third = published(store, 3)
    ours = registry(store)
    assert code_of(lambda: ours.canary(second, 0.1, "early")) == "E_REGISTRY_STAGE"
    ours.promote(first, "the first", "ann")
    assert code_of(lambda: ours.canary(second, 0.1, "early")) == "E_REGISTRY_STAGE"

    ours.shadow(second, "look at it")
    tried = ours.canary(second, 0.1, "a tenth")
    assert (tried.shadow, tried.canary, tried.stages[second], tried.serving) == (second, 0.1, Stage.CANARY, first)
    assert admit(ours.files(second), TRUST).epoch == tried.number > tried.epoch
    assert ours.canary(second, 0.0, "stop").stages[second] == Stage.SHADOW

    other = ours.shadow(third, "this one")
    assert (other.shadow, other.canary, other.stages[second]) == (third, 0, Stage.CANDIDATE)
    ended = ours.promote(third, "good", "ann")
    assert (ended.shadow, ended.canary, ended.serving) == (None, 0, third)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_a_share_that_is_none_is_refused(store: BlobStore, share: float) -> None:
    with pytest.raises(UserMistake, match="expected 0 to below 1"):
        registry(store).canary(published(store, 1)[0], share, "why")


def test_what_was_refused_or_recalled_never_serves_again(store: BlobStore) -> None:
    first, second, third = published(store, 3)
    ours = registry(store)
    ours.promote(third, "the first", "ann")
    ours.promote(first, "next", "ann")
    ours.shadow(second, "look")
    assert ours.refuse(second, ["recall fell", "image slice broke"]).shadow is None
    assert ours.state().moves()[-1].reason == "recall fell; image slice broke"
    ours.refuse(second, ["said already, and a state of its own"])
    ours.recall(third, "it let harm through", "ann")

    published(store, 3)
    for bundle_id in (second, third):
        assert code_of(lambda bundle_id=bundle_id: ours.promote(bundle_id, "still", "ann")) == "E_REGISTRY_STAGE"
        assert code_of(lambda bundle_id=bundle_id: ours.shadow(bundle_id, "still")) == "E_REGISTRY_STAGE"
    assert code_of(lambda: ours.roll_back("to a recalled one", "ann")) == "E_REGISTRY_STAGE"
    assert code_of(lambda: ours.roll_back("to a recalled one", "ann", to=third)) == "E_REGISTRY_STAGE"
    for act in (lambda: ours.recall(first, "it serves", "ann"), lambda: ours.refuse(first, ["it serves"])):
        assert code_of(act) == "E_REGISTRY_STAGE"


def test_of_two_promotions_by_one_state_the_second_is_told_that_things_moved(store: BlobStore) -> None:
    first, second = published(store, 2)
    seen = registry(store).state().number
    registry(store).promote(first, "mine", "ann", expected=seen)

    assert code_of(lambda: registry(store).promote(second, "mine", "ben", expected=seen)) == "E_REGISTRY_MOVED"
    assert code_of(lambda: registry(store).roll_back("mine", "ben", expected=seen)) == "E_REGISTRY_MOVED"
    assert registry(store).state().serving == first


def test_a_candidate_that_was_published_meanwhile_disturbs_no_promotion(store: BlobStore) -> None:
    (first,) = published(store, 1)
    seen = registry(store).state().number
    published(store, 2)

    assert registry(store).promote(first, "go", "ann", expected=seen).serving == first


def test_promoting_what_serves_is_no_change(store: BlobStore) -> None:
    (first,) = published(store, 1)
    before = registry(store).promote(first, "go", "ann")

    assert registry(store).promote(first, "again", "ben") == before


def test_many_reasons_to_refuse_are_kept_as_far_as_they_fit(store: BlobStore) -> None:
    (first,) = published(store, 1)

    moved = registry(store).refuse(first, ["a slice broke"] * 1_000).moves()[-1]
    assert moved.reason.startswith("a slice broke; a slice broke") and len(moved.reason) == 2_000


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 2_001])
def test_a_change_without_a_reason_is_refused(store: BlobStore, reason: str) -> None:
    (first,) = published(store, 1)

    with pytest.raises(UserMistake, match="say why"):
        registry(store).promote(first, reason, "ann")


def test_a_bundle_that_is_not_there_cannot_be_promoted(store: BlobStore) -> None:
    assert code_of(lambda: registry(store).promote("0" * 16, "go", "ann")) == "E_REGISTRY_UNKNOWN"


def test_an_old_reader_sees_what_others_write_and_reads_each_entry_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (first,) = published(store, 1)
    reader = registry(store)
    assert reader.state().serving is None

    registry(store).promote(first, "go", "ann")
    (tmp_path / "audit/000000001.json").write_bytes(b"not read again")

    assert reader.state().serving == first
    assert code_of(registry(store).state) == "E_AUDIT_LOG"


def test_a_log_with_a_gap_is_no_shorter_log(store: BlobStore) -> None:
    published(store, 3)
    store.delete("audit/000000002.json")

    assert code_of(registry(store).state) == "E_AUDIT_LOG"


def test_files_of_a_registry_are_a_bundle_folder_by_themselves(tmp_path: Path) -> None:
    (first,) = published(FolderStore(tmp_path), 1)

    assert {path.name for path in (tmp_path / "bundles" / first).iterdir()} == {CARD, WEIGHTS, SIGNATURE}


def test_later_promotions_cannot_be_removed_to_play_an_older_one_again(store: BlobStore) -> None:
    first, second = published(store, 2)
    registry(store).promote(first, "the first", "ann")
    noted = registry(store).promote(second, "better", "ann").head
    store.delete("audit/000000004.json")

    assert registry(store).state().serving == first  # the control: the rest of the log is sound by itself
    assert code_of(lambda: Registry(store, lambda: AT, known=lambda: noted).state()) == "E_AUDIT_LOG"
    for key in list(store.keys("audit/")):
        store.delete(key)
    assert Registry(store, lambda: AT, known=lambda: noted).state().serving is None


def test_what_was_opened_without_a_key_can_be_read_and_makes_nothing_serve(store: BlobStore) -> None:
    (first,) = published(store, 1)
    reader = Registry(store, lambda: AT)

    with pytest.raises(UserMistake, match="without a key"):
        reader.promote(first, "go", "ann")
    assert reader.state().serving is None


ACTS = st.tuples(
    st.sampled_from(["publish", "refuse", "recall", "shadow", "canary", "promote", "roll back", "roll back to"]),
    st.integers(0, 3),
)


@given(st.lists(ACTS, max_size=30))
@settings(max_examples=60)
def test_whatever_is_done_the_state_makes_sense_and_a_stranger_reads_the_same(acts: list[tuple[str, int]]) -> None:
    store = MemoryStore()
    ours = registry(store)
    epoch = 0
    for act, number in acts:
        with suppress(UserMistake):
            do(ours, act, number)
        state = ours.state()
        served = [each for each, stage in state.stages.items() if stage == Stage.PROMOTED]
        tried = [each for each, stage in state.stages.items() if stage in {Stage.SHADOW, Stage.CANARY}]
        assert served == [each for each in [state.serving] if each] == list(state.line[-1:])
        assert tried == [each for each in [state.shadow] if each] and (state.canary == 0 or tried)
        assert len(set(state.line)) == len(state.line)
        assert not [each for each in state.line if state.stages[each] in {Stage.REFUSED, Stage.RECALLED}]
        assert state.epoch >= epoch
        epoch = state.epoch
    assert registry(store).state() == ours.state()


def do(ours: Registry, act: str, number: int) -> object:
    one = IDS[number]
    match act:
        case "publish":
            return ours.publish(BUNDLES[number], Published(parent=IDS[0]))
        case "refuse":
            return ours.refuse(one, ["too bad"])
        case "recall":
            return ours.recall(one, "too bad", "ann")
        case "shadow":
            return ours.shadow(one, "look")
        case "canary":
            return ours.canary(one, number / 4, "try")
        case "promote":
            return ours.promote(one, "good", "ann")
        case "roll back":
            return ours.roll_back("bad", "ann")
        case _:
            return ours.roll_back("bad", "ann", to=one)
