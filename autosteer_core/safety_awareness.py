"""Safety Awareness Score: how alike the safe-to-harmful contrasts of a layer are."""

import torch
from torch import Tensor


def safety_awareness(harmful_NLD: Tensor, safe_NLD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean pairwise cosine of the N contrasts at each of L layers, with its jackknife standard error.

    Closed form of AutoSteer eq. 7-8: (|s|^2 - N) / (N (N - 1)) with s the sum of unit contrasts, so it
    costs O(N d) a layer. Returns two float64 tensors of shape (L,).

    Raises:
        ValueError: shapes differ, or fewer than three pairs (no standard error).
    """
    if harmful_NLD.shape != safe_NLD.shape:
        raise ValueError(f"harmful {tuple(harmful_NLD.shape)} and safe {tuple(safe_NLD.shape)} must pair up")
    count = len(harmful_NLD)
    if count < 3:
        raise ValueError(f"the score needs at least 3 pairs, got {count}")
    units_NLD = torch.nn.functional.normalize(harmful_NLD.double() - safe_NLD.double(), dim=-1)
    total_LD = units_NLD.sum(dim=0)
    squared_L = total_LD.square().sum(dim=-1)
    scores_L = _mean_cosine(squared_L, count)

    # Leaving pair i out changes |s|^2 to |s - u_i|^2, so the jackknife needs no second pass over pairs.
    left_out_NL = squared_L - 2 * (units_NLD * total_LD).sum(dim=-1) + 1
    jackknife_NL = _mean_cosine(left_out_NL, count - 1)
    spread_L = (jackknife_NL - jackknife_NL.mean(dim=0)).square().sum(dim=0)
    return scores_L, (spread_L * (count - 1) / count).sqrt()


def _mean_cosine(squared_length: Tensor, count: int) -> Tensor:
    return (squared_length - count) / (count * (count - 1))
