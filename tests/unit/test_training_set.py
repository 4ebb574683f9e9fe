"""What becomes of new labels: nobody can say more than a share, and nobody can say one thing many times."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.material import Material, Origin
from autosteer_core.near_duplicates import Frame, leaders, nearest
from autosteer_core.training_set import CONFLICT, CORRECTED, KNOWN, NEAR, SHARE, CurationLimits, curate
from autosteer_core.values import Fingerprint
from tests.tiny_material import ORIGIN, tiny_material

LIMITS = CurationLimits()
BASE = replace(tiny_material(400), labeller_N=np.array(["manifest:first"] * 400))


def said_by(labeller: str, rows: int, seed: int = 1, source: str = "") -> Material:
    """New rows that are like no other."""
    return replace(
        tiny_material(rows, seed=seed),
        labeller_N=np.array([labeller] * rows),
        source_N=np.array([source] * rows),
    )


def flipped(material: Material) -> Material:
    return replace(material, harmful_N=~material.harmful_N)


def relabelled(material: Material, labeller: str) -> Material:
    return replace(material, labeller_N=np.array([labeller] * len(material)))


def test_all_that_a_reviewer_says_of_new_rows_is_taken() -> None:
    found = curate(BASE, said_by("reviewer:ann", 300), LIMITS)

    assert len(found.material) == 700
    assert found.dropped == {}


@pytest.mark.parametrize(("labeller", "source"), [("import:a+b", ""), ("judge:c", "d"), ("import:a", "d")])
def test_one_labeller_or_source_is_at_most_five_percent_of_the_set(labeller: str, source: str) -> None:
    found = curate(BASE, said_by(labeller, 300, source=source), LIMITS)

    taken = len(found.material) - 400
    assert taken == 21  # of 421 rows 5 % are 21.05
    assert found.dropped == {SHARE: 300 - taken}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 60)), max_size=5))
def test_whatever_is_said_by_whom_no_name_has_more_than_its_share(said: list[tuple[str, str, int]]) -> None:
    new = [
        said_by(f"import:{name}+{name}2", rows, place + 1, source) for place, (name, source, rows) in enumerate(said)
    ]
    found = curate(BASE, Material.joined([*new, said_by("reviewer:ann", 40, 99)]), LIMITS).material

    open_N = np.char.startswith(found.labeller_N, "import")
    for column_N in (found.labeller_N, found.source_N):
        assert all((open_N & (column_N == name)).sum() <= 0.05 * len(found) for name in np.unique(column_N[open_N]))


def test_a_share_counts_what_the_base_has_of_the_same_labeller_so_that_it_does_not_creep() -> None:
    once = curate(BASE, said_by("import:a", 300), LIMITS).material
    again = curate(once, said_by("import:a", 300, seed=2), LIMITS).material

    assert len(again) == len(once)


def test_a_flood_of_near_equal_rows_is_one_row() -> None:
    row = said_by("reviewer:ann", 2).take(np.array([1]))
    flood = said_by("reviewer:ann", 5000, seed=2)
    noise_ND = 0.01 * torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    flood = replace(flood, activation_ND=row.activation_ND + noise_ND, harmful_N=np.ones(5000, bool))

    found = curate(BASE, flood, LIMITS)

    assert len(found.material) == 401
    assert found.dropped == {NEAR: 4999}


def test_rows_of_a_group_with_both_labels_are_left_out_unless_a_reviewer_labelled_them() -> None:
    twins = said_by("import:a", 2)
    twins = replace(twins, activation_ND=twins.activation_ND[[0, 0]])
    reviewed = replace(twins, labeller_N=np.array(["import:a", "reviewer:ann"]))

    assert curate(BASE, twins, LIMITS).dropped == {CONFLICT: 2}
    assert curate(BASE, reviewed, LIMITS).material.labeller_N[400:].tolist() == ["reviewer:ann"]


def test_near_a_row_of_the_base_the_same_label_is_nothing_new_and_the_other_one_a_conflict() -> None:
    shadow = replace(said_by("import:a", 400), activation_ND=BASE.activation_ND * 1.0001)

    assert curate(BASE, shadow, LIMITS).dropped == {NEAR: 400}
    assert curate(BASE, flipped(shadow), LIMITS).dropped == {CONFLICT: 400}


def test_of_what_the_base_has_a_reviewer_may_correct_the_label_and_nobody_else() -> None:
    ten = BASE.take(np.arange(10))

    agreed = curate(BASE, relabelled(ten, "import:a"), LIMITS)
    disputed = curate(BASE, flipped(relabelled(ten, "import:a")), LIMITS)
    corrected = curate(BASE, flipped(relabelled(ten, "reviewer:ann")), LIMITS)

    assert (agreed.dropped, len(agreed.material)) == ({KNOWN: 10}, 400)
    assert (disputed.dropped, len(disputed.material)) == ({CONFLICT: 10}, 400)
    assert (corrected.dropped, len(corrected.material)) == ({CORRECTED: 10}, 400)
    assert (corrected.material.labeller_N == "reviewer:ann").sum() == 10


def test_two_who_contradict_each_other_about_one_item_are_both_left_out() -> None:
    item = said_by("import:a", 1)

    assert curate(BASE, Material.joined([item, flipped(relabelled(item, "import:b"))]), LIMITS).dropped == {
        CONFLICT: 2
    }


def test_the_set_does_not_depend_on_the_order_in_which_labels_came() -> None:
    new = Material.joined([said_by("import:a", 60), said_by("reviewer:ann", 60, seed=2)])
    mixed = new.take(np.random.default_rng(0).permutation(len(new)))

    one, other = (curate(BASE, rows, LIMITS).material for rows in (new, mixed))

    assert one.content_N.tolist() == other.content_N.tolist()
    assert torch.equal(one.activation_ND, other.activation_ND)


def test_labels_of_another_model_are_refused() -> None:
    other = tiny_material(10, origin=Origin(Fingerprint("f" * 64), ORIGIN.sites))

    with pytest.raises(UserMistake) as refused:
        curate(BASE, other, LIMITS)

    assert refused.value.code == "E_MATERIAL_ORIGIN"


def test_wide_activations_are_near_in_few_columns_where_they_are_in_all_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    row_ND = torch.randn(300, 2304, generator=generator)
    aside_ND = torch.randn(300, 2304, generator=generator)
    frame = Frame.of(row_ND)

    nearer, farther = (frame.directions(row_ND + share * aside_ND) for share in (0.1, 0.3))  # cosines of 0.995, 0.958
    own = frame.directions(row_ND)

    assert own.shape == (300, 128)
    assert (nearest(nearer, own, 0.99) == np.arange(300)).mean() > 0.95
    assert (nearest(farther, own, 0.99) == -1).mean() > 0.95


def test_every_row_is_near_its_leader_and_no_leader_is_near_an_earlier_one() -> None:
    wide_ND = torch.randn(2500, 4, generator=torch.Generator().manual_seed(0))
    direction_ND = torch.nn.functional.normalize(wide_ND, dim=1)

    led_N = leaders(direction_ND, 0.99)

    chosen = np.unique(led_N)
    own = direction_ND[chosen] @ direction_ND[chosen].T
    assert ((direction_ND * direction_ND[led_N]).sum(dim=1) >= 0.99 - 1e-6).all()
    assert 100 < len(chosen) < 2000
    assert (own.fill_diagonal_(0) < 0.99).all()
    assert (nearest(direction_ND, direction_ND[chosen], 0.99) >= 0).all()
