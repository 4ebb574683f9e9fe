"""Labelled activations keep their rows together, in memory and through a file."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from autosteer_core.errors import UserMistake
from autosteer_core.material import Material, Origin, Use
from autosteer_core.values import Fingerprint, Pooling, Site
from infra.material_files import material_from_parquet, material_to_parquet
from tests.tiny_material import ORIGIN, tiny_material


def same(one: Material, other: Material) -> bool:
    columns = zip(one.columns().values(), other.columns().values(), strict=True)
    return (
        one.origin == other.origin
        and torch.equal(one.activation_ND, other.activation_ND)
        and all(np.array_equal(a, b) for a, b in columns)
    )


def test_a_material_comes_back_from_its_file_and_gives_the_same_bytes_again() -> None:
    material = tiny_material(100)

    data = material_to_parquet(material)

    again = material_from_parquet(data)
    assert same(again, material)
    assert material_to_parquet(again) == data


def test_a_file_of_several_row_groups_keeps_the_order_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.material_files._GROUP_ROWS", 7)
    material = tiny_material(40)

    assert same(material_from_parquet(material_to_parquet(material)), material)


def test_hashes_that_end_in_zeros_and_names_of_other_scripts_are_kept_whole() -> None:
    material = tiny_material(3)
    material.content_N[0] = bytes(32)
    odd = replace(material, group_N=np.array(["", "ä / ж", "a\tb"]))

    again = material_from_parquet(material_to_parquet(odd))

    assert again.content_N[0] == bytes(32)
    assert again.group_N.tolist() == odd.group_N.tolist()


def test_one_other_label_gives_another_hash() -> None:
    material = tiny_material(10)
    flipped = replace(material, harmful_N=material.harmful_N ^ (np.arange(10) == 3))

    assert sha256(material_to_parquet(material)).digest() != sha256(material_to_parquet(flipped)).digest()


def test_rows_are_chosen_by_number_and_by_mask_alike() -> None:
    material = tiny_material(20)

    assert same(material.take(material.harmful_N), material.take(np.flatnonzero(material.harmful_N)))
    assert material.take(np.array([3, 1])).item_id_N.tolist() == ["item-3", "item-1"]


def test_joining_puts_the_rows_one_after_the_other() -> None:
    material = tiny_material(20)

    halves = [material.take(np.arange(8)), material.take(np.arange(8, 20))]

    assert same(Material.joined(halves), material)


def test_materials_of_other_sites_are_not_joined() -> None:
    other = replace(tiny_material(4), origin=replace(ORIGIN, sites=(Site(3, Pooling.MEAN),)))

    with pytest.raises(UserMistake, match="at sites 3 mean, expected model .* at sites 2 last") as refused:
        Material.joined([tiny_material(4), other])
    assert refused.value.code == "E_MATERIAL_ORIGIN"


def test_columns_of_different_lengths_are_no_material() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        replace(tiny_material(4), harmful_N=np.zeros(3, bool))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70_000.0])
def test_what_float16_cannot_hold_is_not_written(value: float) -> None:
    material = tiny_material(4)
    material.activation_ND[1, 0] = value

    with pytest.raises(UserMistake, match="1 of 4 labelled activations are not finite"):
        material_to_parquet(material)


def test_a_flipped_bit_is_noticed() -> None:
    data = bytearray(material_to_parquet(tiny_material(200)))
    data[len(data) // 3] ^= 1

    with pytest.raises(UserMistake):
        material_from_parquet(bytes(data))


def test_another_parquet_file_is_refused_with_its_columns() -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)

    with pytest.raises(UserMistake, match="it has the columns a"):
        material_from_parquet(sink.getvalue())


@pytest.mark.parametrize("text", ["", "2", "0 last", "2 last,3 mean", "2 sum", "2 last, "])
def test_sites_are_read_as_they_are_written_and_nothing_else(text: str) -> None:
    two = Origin(Fingerprint("m"), (Site(2, Pooling.LAST), Site(13, Pooling.MEAN)))
    assert Origin.parsed("m", two.sites_text) == two

    with pytest.raises(UserMistake, match="expected for example"):
        Origin.parsed("m", text)


def test_uses_are_found_by_name() -> None:
    material = tiny_material(20)

    numbers = [material.rows(use) for use in Use]

    assert sorted(np.concatenate(numbers).tolist()) == list(range(20))
    assert set(material.use_N[material.rows(Use.THRESHOLD)]) == {"threshold"}
