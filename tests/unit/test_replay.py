"""Kept activations read again: the same bundle says the same, another one its own, and damage is noticed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import kept
from autosteer_core.replay import rescore
from autosteer_core.values import Action, Item, Modality, Verdict
from infra.activation_files import activations_from_parquet, activations_to_parquet
from infra.activation_table import activation_table, activation_tables, taken
from tests.kept_run import WIDTH, bundle

ORIGIN = {"model_fingerprint": "m" * 64, "sites": "2 last, 3 mean"}


def stored(count: int, seed: int = 0) -> tuple[bytes, torch.Tensor]:
    """A file of activations, every third of a picture, and what was measured."""
    measured_ND = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    items = [Item(f"id-{row}", "" if row % 3 == 0 else "how", (b"x",) * (row % 3 == 0), row) for row in range(count)]
    rows = [
        Verdict(item.item_id, item.row + 7, Action.ALLOW, 0.1, activation=kept(item, measured_D))
        for item, measured_D in zip(items, measured_ND, strict=True)
    ]
    data = activations_to_parquet(rows, ORIGIN)
    assert data is not None
    return data, measured_ND


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 300), scale=st.sampled_from([1e-2, 1.0, 100.0]))
def test_what_is_read_again_is_what_the_probe_said_to_the_digits_of_float16(
    seed: int, rows: int, scale: float
) -> None:
    made, activation_ND = bundle(seed, scale), torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))
    half_ND = activation_ND.half()

    risk_N, gate_N = rescore(made, half_ND.numpy(), np.full(rows, "text"))

    np.testing.assert_allclose(risk_N, made.probe.risk(half_ND).numpy(), atol=1e-4)
    assert (gate_N == ~(risk_N < 0.5)).all()


def test_every_modality_has_its_own_threshold_and_no_number_opens_the_gate() -> None:
    made = bundle()
    activation_ND = np.zeros((3, WIDTH), np.float16)
    activation_ND[2] = np.nan
    risk = float(made.probe.risk(torch.zeros(1, WIDTH)))
    between = replace(made.guarantee, threshold=risk + 1e-4)
    made = replace(made, guarantee=between, slices={Modality.IMAGE: replace(between, threshold=risk - 1e-4)})

    risk_N, gate_N = rescore(made, activation_ND, np.array(["text", "image", "text"]))

    assert gate_N.tolist() == [False, True, True]
    assert np.isnan(risk_N).tolist() == [False, False, True]


def test_the_columns_of_a_file_are_what_its_rows_hold() -> None:
    data, _ = stored(40)

    found, rows = activation_table(data), activations_from_parquet(data)

    assert found.row_N.tolist() == list(rows)
    assert [each.tobytes() for each in found.content_N] == [row.content for row in rows.values()]
    assert [each.tobytes() for each in found.activation_ND] == [row.vector for row in rows.values()]
    assert found.modality_N.tolist() == [row.modality.value for row in rows.values()]
    assert taken([found.ids], np.array([3, 0])) == ["id-3", "id-0"]
    assert found.origin == ORIGIN
    assert set(found.modality_N) == {"image", "text"}


@pytest.mark.parametrize("at_once", [1, 7, 512])
def test_a_file_in_pieces_is_the_whole_file(at_once: int) -> None:
    data, _ = stored(40)
    whole, pieces = activation_table(data), list(activation_tables(data, at_once, verified=True))

    assert np.concatenate([piece.activation_ND for piece in pieces]).tobytes() == whole.activation_ND.tobytes()
    assert np.concatenate([piece.row_N for piece in pieces]).tolist() == whole.row_N.tolist()
    assert np.concatenate([piece.content_N for piece in pieces]).tobytes() == whole.content_N.tobytes()
    assert [each for piece in pieces for each in piece.item_ids()] == whole.item_ids()


def test_a_flipped_bit_is_noticed_unless_the_digest_was_compared() -> None:
    data = bytearray(stored(200)[0])
    data[len(data) // 3] ^= 16

    with pytest.raises(UserMistake, match="E_PARQUET|checksum|damaged"):
        activation_table(bytes(data))
    activation_table(bytes(data), verified=True)  # the control: without checksums nobody would know


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(UserMistake):
        activation_table(b"PAR1 and nothing more PAR1")
