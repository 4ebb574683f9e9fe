"""The Refusal Head and the gate."""

import pytest
import torch

from autosteer_core.probe import gate_is_open
from autosteer_core.refusal_head import RefusalHead


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-5)])
def test_the_hidden_space_form_equals_the_papers_steered_output_matrix(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, embedding, down, up = (
        torch.randn(*shape, dtype=dtype, generator=generator) / 16**0.5
        for shape in ((3, 2, 16), (50, 16), (16, 16), (16, 16))
    )
    head = RefusalHead(down, up, epsilon=0.1)

    logits = head.steer(hidden, torch.ones(3, dtype=torch.bool)) @ embedding.T

    steered_matrix = embedding + 0.1 * embedding @ (up @ down.T)  # E + eps E M with M^T = A B^T
    torch.testing.assert_close(logits, hidden @ steered_matrix.T, rtol=0, atol=tolerance)


def test_rows_with_a_closed_gate_come_back_bit_for_bit() -> None:
    head = RefusalHead(torch.randn(16, 4), torch.randn(16, 4), epsilon=0.1)
    hidden = torch.randn(4, 1, 16)

    steered = head.steer(hidden, torch.tensor([True, False, True, False]))

    assert torch.equal(steered[[1, 3]], hidden[[1, 3]])
    assert not torch.equal(steered[[0, 2]], hidden[[0, 2]])


def test_an_unbounded_edit_cannot_reach_a_closed_row() -> None:
    head = RefusalHead(torch.full((16, 4), float("nan")), torch.randn(16, 4), epsilon=0.1)
    hidden = torch.randn(2, 1, 16)

    assert torch.equal(head.steer(hidden, torch.tensor([False, False])), hidden)


def test_a_new_head_changes_nothing() -> None:
    hidden = torch.randn(2, 1, 16)

    assert torch.equal(RefusalHead.zero(16, 4, 0.1, seed=0).steer(hidden, torch.tensor([True, True])), hidden)


def test_a_nan_risk_opens_the_gate() -> None:
    risk = torch.tensor([0.2, 0.5, 0.9, float("nan")])

    assert gate_is_open(risk, 0.5).tolist() == [False, True, True, True]
