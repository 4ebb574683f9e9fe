"""What an edit costs: the output layer with it against without it, timed on random matrices of the model's shape."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from autosteer_core.refusal_head import RefusalHead

_REPEATS, _REBUILT_REPEATS = 15, 3


@dataclass(frozen=True, slots=True)
class SteeringCost:
    """Multiples of the plain output layer's time for one token, medians of one run: comparable, never absolute.

    `edited` is the edit of the hidden state; `rebuilt` is the released code's way, E + eps E M anew for every token.
    """

    edited: float
    rebuilt: float


@torch.inference_mode()
def steering_cost(head: RefusalHead, vocabulary: int) -> SteeringCost:
    """Time is independent of the values, so the model itself is not needed."""
    width = len(head.down)
    output_VD, hidden_NTD = torch.randn(vocabulary, width), torch.randn(1, 1, width)
    edit_DD, gate_N = head.down @ head.up.T, torch.tensor([True])
    plain = seconds(lambda: hidden_NTD @ output_VD.T, _REPEATS)
    edited = seconds(lambda: head.steer(hidden_NTD, gate_N) @ output_VD.T, _REPEATS)
    rebuilt = seconds(lambda: hidden_NTD @ (output_VD + head.epsilon * output_VD @ edit_DD.T).T, _REBUILT_REPEATS)
    return SteeringCost(edited / plain, rebuilt / plain)


def seconds(act: Callable[[], object], repeats: int) -> float:
    """The median, so that one interruption does not count."""
    taken = []
    for _ in range(repeats):
        started = perf_counter()
        act()
        taken.append(perf_counter() - started)
    return sorted(taken)[repeats // 2]
