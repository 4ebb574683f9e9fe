"""Activations survive the way through a file, and damage is noticed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import content_hash, kept
from autosteer_core.values import Action, Item, Verdict
from infra.activation_files import activations_from_parquet, activations_to_parquet, as_array, origin_of

ORIGIN = {"model_fingerprint": "m" * 64, "sites": "2 last, 3 mean"}
ITEM = Item("a", "how", (b"picture",))


def verdicts(count: int) -> list[Verdict]:
    vectors = torch.randn(count, 16, generator=torch.Generator().manual_seed(0))
    return [Verdict(f"id-{row}", row, Action.ALLOW, 0.1, activation=kept(ITEM, vectors[row])) for row in range(count)]


def test_activations_come_back_by_row_with_their_origin() -> None:
    written = [*verdicts(3), Verdict("broken", 3, Action.ERROR, 0.0)]

    data = activations_to_parquet(written, ORIGIN)

    assert data is not None
    assert activations_from_parquet(data) == {row.row: row.activation for row in written[:3]}
    assert origin_of(data) == ORIGIN


def test_a_part_of_which_nothing_was_read_has_no_file() -> None:
    assert activations_to_parquet([Verdict("broken", 3, Action.ERROR, 0.0)], ORIGIN) is None


def test_a_vector_is_kept_to_the_digits_of_float16() -> None:
    vector_D = torch.tensor([1.0, -2.5, 3.14159, 1e-3])

    assert as_array([kept(ITEM, vector_D)]) == pytest.approx(vector_D.numpy()[None], rel=1e-3)


def test_items_that_show_the_model_the_same_have_one_content_hash() -> None:
    assert content_hash(ITEM) == content_hash(replace(ITEM, item_id="b", row=9))
    others = [replace(ITEM, text="why"), replace(ITEM, images=()), replace(ITEM, images=ITEM.images * 2)]
    assert len({content_hash(each) for each in [ITEM, *others]}) == 4


def test_a_flipped_bit_is_noticed() -> None:
    good = activations_to_parquet(verdicts(50), ORIGIN)
    assert good is not None
    wanted, footer = activations_from_parquet(good), int.from_bytes(good[-8:-4], "little")
    silent = 0
    for position in range(4, len(good) - footer - 8, 37):
        bad = bytearray(good)
        bad[position] ^= 16
        try:
            silent += activations_from_parquet(bytes(bad)) != wanted
        except (UserMistake, ValueError):
            continue
    assert silent == 0


def test_vectors_of_many_rows_are_one_array() -> None:
    found = as_array(row.activation for row in verdicts(5) if row.activation)
    assert found.shape == (5, 16) and found.dtype == np.float32
