"""From logits to the next token of every row, by the model's generation settings, greedily or by each row's luck."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from autosteer_core.backbones.base import Backbone
from autosteer_core.errors import UserMistake
from autosteer_core.sampling import Sampling
from autosteer_core.slots.slot import Slot

# Settings of `generate` that look at a row's past, and the values at which they do nothing.
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "guidance_scale": (None, 1.0),
    "bad_words_ids": (None,),
    "sequence_bias": (None,),
    "begin_suppress_tokens": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "stop_strings": (None,),
}


class TokenChoice:
    """The likeliest token of every row, or the one its own random number falls on.

    Raises:
        UserMistake: the model's generation settings ask for what this does not do.
    """

    def __init__(self, backbone: Backbone, sampling: Sampling | None) -> None:
        settings = backbone.model.generation_config
        for name, harmless in _UNSERVED.items():
            value = getattr(settings, name, None)
            if value not in harmless:
                raise UserMistake(
                    f"the model's generation settings have {name}={value}, which the slot engine does not do: "
                    "set engine=static"
                )
        self._sampling = sampling
        self._never = sorted(backbone.suppressed) or list(settings.suppress_tokens or [])
        penalty = settings.repetition_penalty
        self._penalty = None if penalty in (None, 1.0) else RepetitionPenaltyLogitsProcessor(float(penalty))

    def choose(self, logits_NV: Tensor, slots: Sequence[Slot]) -> list[int]:
        """One token id a row: the only thing of a step that the host waits for."""
        logits_NV = self._penalised(logits_NV.float(), slots)
        if self._never:
            logits_NV[:, self._never] = -torch.inf
        if self._sampling is None:
            return logits_NV.argmax(dim=1).tolist()
        uniform_N = torch.tensor([slot.random.random() for slot in slots], device=logits_NV.device)
        return self._sampling.draw(logits_NV, uniform_N).tolist()

    def _penalised(self, logits_NV: Tensor, slots: Sequence[Slot]) -> Tensor:
        if self._penalty is None:
            return logits_NV
        rows = [
            self._penalty(torch.tensor([slot.said], device=logits_NV.device), logits_V[None])
            for slot, logits_V in zip(slots, logits_NV, strict=True)
        ]
        return torch.cat(rows)
