"""Safety Awareness Score."""

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from autosteer_core.safety_awareness import safety_awareness


def mean_pairwise_cosine(contrasts: torch.Tensor) -> float:
    """The definition, as the paper states it: every pair once."""
    table = cosine_similarity(contrasts.numpy())
    rows, columns = torch.triu_indices(len(contrasts), len(contrasts), offset=1)
    return float(table[rows, columns].mean())


def test_the_closed_form_equals_the_mean_over_all_pairs() -> None:
    harmful, safe = torch.randn(2, 9, 3, 16, dtype=torch.float64)

    scores, _ = safety_awareness(harmful, safe)

    wanted = [mean_pairwise_cosine((harmful - safe)[:, layer]) for layer in range(3)]
    torch.testing.assert_close(scores, torch.tensor(wanted, dtype=torch.float64))


def test_the_standard_error_equals_a_jackknife_by_leaving_pairs_out() -> None:
    harmful, safe = torch.randn(2, 7, 1, 8, dtype=torch.float64)

    _, error = safety_awareness(harmful, safe)

    kept = [[row for row in range(7) if row != out] for out in range(7)]
    values = torch.stack([safety_awareness(harmful[rows], safe[rows])[0] for rows in kept])
    wanted = ((values - values.mean(0)).square().sum(0) * 6 / 7).sqrt()
    torch.testing.assert_close(error, wanted)


def test_equal_contrasts_score_one() -> None:
    safe = torch.randn(5, 2, 8)

    scores, errors = safety_awareness(safe + torch.ones(8), safe)

    torch.testing.assert_close(scores, torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert errors.max() < 1e-5


def test_two_pairs_are_too_few_for_a_standard_error() -> None:
    with pytest.raises(ValueError, match="at least 3 pairs, got 2"):
        safety_awareness(torch.randn(2, 1, 4), torch.randn(2, 1, 4))
