"""The shelf of bundles in a worker: checked before they serve, and held as long as a part needs them."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, rule

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.errors import BundleRefused
from autosteer_core.serving import Serving
from autosteer_core.values import BundleId, Lease, Part, PartId
from tests.bundle_bytes import STRANGER, TRUST, Files, signed
from tests.security.bad_bundles import Bad, bad_bundles
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision
from workers.bundle_shelf import BundleShelf

BACKBONE = tiny_llava_onevision()
FIRST = tiny_bundle(BACKBONE)


def version(number: int) -> Bundle:
    return replace(FIRST, report={"version": number})


VERSIONS = [version(number) for number in range(4)]
IDS = [bundle.bundle_id for bundle in VERSIONS]


def files(number: int, epoch: int = 0) -> Files:
    return signed(to_files(VERSIONS[number]), epoch=epoch)


def placed(bundle: Bundle) -> Bundle:
    bundle.require_model(BACKBONE)
    return bundle


def lease(name: str, token: int = 1) -> Lease:
    return Lease(Part(PartId(name), "f", 0, 4), token, "w", 1.0)


def shelf_serving(number: int = 0, epoch: int = 1) -> BundleShelf:
    shelf = BundleShelf(TRUST, placed)
    shelf.offer(files(number, epoch))
    shelf.serve(Serving(epoch, IDS[number]))
    return shelf


def swap(shelf: BundleShelf, number: int, epoch: int) -> None:
    shelf.offer(files(number, epoch))
    shelf.serve(Serving(epoch, IDS[number]))


def test_a_part_in_work_keeps_its_bundle_and_the_next_claim_gets_the_new_one() -> None:
    shelf = shelf_serving()
    old = shelf.bundle(shelf.pin(lease("a")))

    swap(shelf, 1, 2)

    assert shelf.pin(lease("b")) == IDS[1]
    assert shelf.bundle(IDS[0]) is old
    assert shelf.held == sorted(IDS[:2])


def test_the_last_part_takes_its_bundle_along_unless_it_serves() -> None:
    shelf = shelf_serving()
    leases = [lease("a"), lease("b"), lease("a", token=2)]
    for each in leases:
        shelf.pin(each)
    swap(shelf, 1, 2)

    for each in leases[:2] * 2:
        shelf.let_go(each)
    assert IDS[0] in shelf.held
    shelf.let_go(leases[2])

    assert shelf.held == [IDS[1]]
    with pytest.raises(KeyError):
        shelf.bundle(IDS[0])


def test_what_was_offered_and_is_not_asked_for_is_dropped_at_the_next_switch() -> None:
    shelf = shelf_serving()
    shelf.offer(files(1))
    shelf.let_go(lease("unknown"))
    assert IDS[1] in shelf.held

    swap(shelf, 2, 2)

    assert shelf.held == [IDS[2]]


@pytest.mark.parametrize("bad", bad_bundles(), ids=lambda bad: f"{bad.number}-{bad.name}")
def test_a_bad_bundle_changes_nothing(bad: Bad) -> None:
    shelf = shelf_serving()
    held = shelf.bundle(IDS[0])

    with pytest.raises(BundleRefused):
        shelf.offer(bad.files)

    assert shelf.serving == Serving(1, IDS[0])
    assert shelf.held == [IDS[0]]
    assert shelf.bundle(shelf.pin(lease("a"))) is held


def test_a_strangers_bundle_and_one_of_another_model_are_not_offered() -> None:
    shelf = shelf_serving()
    other = replace(FIRST, fingerprint="b" * 64)  # type: ignore[arg-type]

    with pytest.raises(BundleRefused, match="is signed by key"):
        shelf.offer(signed(to_files(VERSIONS[1]), STRANGER))
    with pytest.raises(BundleRefused, match="was fitted on model bbbb"):
        shelf.offer(signed(to_files(other)))
    assert shelf.held == [IDS[0]]


def test_only_what_was_offered_can_be_served() -> None:
    shelf = shelf_serving()

    with pytest.raises(BundleRefused, match="was not offered"):
        shelf.serve(Serving(2, IDS[1]))
    with pytest.raises(BundleRefused, match="was not offered"):
        shelf.serve(Serving(2, IDS[0], IDS[1], 0.5))
    assert shelf.serving == Serving(1, IDS[0])


def test_an_order_that_comes_late_is_refused() -> None:
    shelf = shelf_serving(epoch=5)
    shelf.offer(files(1, 5))

    with pytest.raises(BundleRefused, match="serves at 5") as refused:
        shelf.serve(Serving(4, IDS[1]))
    assert refused.value.code == "E_ARTIFACT_STALE"


def test_an_old_signature_played_again_does_not_take_over_and_a_new_one_does() -> None:
    shelf = shelf_serving(0, 5)
    swap(shelf, 1, 6)
    shelf.offer(files(0, 5))

    with pytest.raises(BundleRefused, match="signed at 5"):
        shelf.serve(Serving(7, IDS[0]))
    assert shelf.pin(lease("a")) == IDS[1]

    swap(shelf, 0, 7)
    assert shelf.pin(lease("b")) == IDS[0]


def test_a_canary_is_a_share_of_the_parts_and_the_same_ones_everywhere() -> None:
    shelves = [shelf_serving(), shelf_serving()]
    names = [f"part-{number}" for number in range(2000)]
    for shelf in shelves:
        shelf.offer(files(1, 1))
        shelf.serve(Serving(1, IDS[0], IDS[1], 0.2))

    first, second = ([shelf.pin(lease(name)) for name in names] for shelf in shelves)

    assert first == second
    assert 300 < Counter(first)[IDS[1]] < 500
    shelves[0].serve(Serving(1, IDS[0], IDS[1], 0.4))
    wider = [shelves[0].pin(lease(name, 2)) for name in names]
    assert all(after == IDS[1] for before, after in zip(first, wider, strict=True) if before == IDS[1])


@dataclass(frozen=True)
class Source:
    """A registry that promotes the first version, and tries another bundle."""

    candidate: Files
    candidate_id: BundleId

    def serving(self) -> Serving:
        return Serving(1, IDS[0], self.candidate_id, 0.9)

    def files(self, bundle_id: BundleId) -> Files:
        return files(0, 1) if bundle_id == IDS[0] else self.candidate


def test_a_worker_that_starts_takes_what_is_promoted_and_its_candidate_only_if_it_is_sound() -> None:
    good, bad = BundleShelf(TRUST, placed), BundleShelf(TRUST, placed)

    assert good.take(Source(files(1), IDS[1])) == Serving(1, IDS[0], IDS[1], 0.9)
    assert bad.take(Source(signed(to_files(VERSIONS[1]), STRANGER), IDS[1])) == Serving(1, IDS[0])

    assert good.held == sorted(IDS[:2])
    assert bad.pin(lease("a")) == IDS[0]


class AnyOrder(RuleBasedStateMachine):
    """Whatever is offered, promoted, tried, claimed and let go, in whatever order."""

    parts: Drawn[Lease] = Drawn("parts")

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 1
        self.shelf = shelf_serving()
        self.users: dict[Lease, BundleId] = {}
        self.objects: dict[Lease, Bundle] = {}

    @rule(number=st.integers(0, 3))
    def promote(self, number: int) -> None:
        self.epoch += 1
        swap(self.shelf, number, self.epoch)

    @rule(number=st.integers(0, 3), share=st.floats(0, 1))
    def canary(self, number: int, share: float) -> None:
        serving = self.shelf.serving
        assert serving
        self.shelf.offer(files(number, self.epoch))
        self.shelf.serve(replace(serving, candidate=IDS[number], canary=share))

    @rule(number=st.integers(0, 3))
    def offer_only(self, number: int) -> None:
        self.shelf.offer(files(number, self.epoch))

    @rule(target=parts, number=st.integers(0, 50), token=st.integers(1, 3))
    def claim(self, number: int, token: int) -> Lease:
        part = lease(f"part-{number}", token)
        if part not in self.users:
            self.users[part] = self.shelf.pin(part)
            self.objects[part] = self.shelf.bundle(self.users[part])
        return part

    @rule(part=consumes(parts))
    def finish(self, part: Lease) -> None:
        self.users.pop(part, None)
        self.shelf.let_go(part)

    @invariant()
    def every_part_in_work_has_the_very_bundle_that_it_was_given(self) -> None:
        for part, name in self.users.items():
            assert self.shelf.bundle(name) is self.objects[part]
            assert name == self.objects[part].bundle_id

    @invariant()
    def nothing_is_held_that_nobody_needs(self) -> None:
        serving = self.shelf.serving
        assert serving
        needed = {*serving.bundles, *self.users.values()}
        assert needed <= set(self.shelf.held)
        self.shelf.serve(serving)  # drops what was only offered
        assert set(self.shelf.held) == needed


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
