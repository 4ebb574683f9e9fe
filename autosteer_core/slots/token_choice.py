"""From logits to the next token of every row, by the model's generation settings, greedily or by each row's luck."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from autosteer_core.backbones.base import Backbone
from autosteer_core.decoding import stop_ids
from autosteer_core.errors import UserMistake
from autosteer_core.finite_logits import are_finite
from autosteer_core.logprobs import logprobs_of
from autosteer_core.sampling import Sampling
from autosteer_core.slots.slot import Slot

# Settings of `generate` that this does not do, and the values at which they do nothing.
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "guidance_scale": (None, 1.0),
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
        self._ends = sorted(stop_ids(backbone))
        self._least = (settings.min_length or 0, settings.min_new_tokens or 0)
        self._processors = _processors(settings, self._ends)

    def choose(self, logits_NV: Tensor, slots: Sequence[Slot]) -> list[tuple[int | None, float | None]]:
        """Per row a token id and, where its request asks, the log of its probability: all that the host waits for.

        No token where the logits are NaN or infinite: the largest of them would say nothing.
        """
        sound_N = are_finite(logits_NV)
        told = [row for row, slot in enumerate(slots) if slot.work.request.logprobs]
        untouched_TV = logits_NV[told] if told else None  # a copy, because the settings change logits in place
        chosen_N = self._chosen(self._processed(logits_NV.float(), slots), slots)
        tokens = [None if token < 0 else token for token in torch.where(sound_N, chosen_N, -1).tolist()]
        if untouched_TV is None:
            return [(token, None) for token in tokens]
        logprobs = dict(zip(told, logprobs_of(untouched_TV, chosen_N[told]).tolist(), strict=True))
        return [(token, logprobs.get(row)) for row, token in enumerate(tokens)]

    def _chosen(self, logits_NV: Tensor, slots: Sequence[Slot]) -> Tensor:
        if self._sampling is None:
            return logits_NV.argmax(dim=1)
        luck = [slot.random.random() for slot in slots]
        return self._sampling.draw(logits_NV, torch.tensor(luck, dtype=torch.float64, device=logits_NV.device))

    def _processed(self, logits_NV: Tensor, slots: Sequence[Slot]) -> Tensor:
        if self._processors:
            rows = [self._row(logits_V, slot) for logits_V, slot in zip(logits_NV, slots, strict=True)]
            logits_NV = torch.cat(rows)
        if self._never:
            logits_NV[:, self._never] = -torch.inf
        for row, slot in enumerate(slots):
            if self._ends and self._unripe(slot):
                logits_NV[row, self._ends] = -torch.inf
        return logits_NV

    def _row(self, logits_V: Tensor, slot: Slot) -> Tensor:
        """Shape (1, V)."""
        said_1T, logits_1V = torch.tensor([slot.said], device=logits_V.device), logits_V[None]
        for processor in self._processors:
            logits_1V = processor(said_1T, logits_1V)
        return logits_1V

    def _unripe(self, slot: Slot) -> bool:
        """Whether the answer is still too short to end; like `generate`, `min_length` counts the prompt too."""
        whole, new = self._least
        return len(slot.ids) < (new or whole - len(slot.work.request.prompt.ids))


def _processors(settings: Any, ends: list[int]) -> list[LogitsProcessor]:
    """Transformers' own, in the order of `generate`."""
    penalty, ngram = settings.repetition_penalty or 1.0, settings.no_repeat_ngram_size or 0
    found: list[LogitsProcessor] = []
    if settings.sequence_bias is not None:
        found.append(SequenceBiasLogitsProcessor(settings.sequence_bias))
    if penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
    if ngram > 0:
        found.append(NoRepeatNGramLogitsProcessor(ngram))
    if settings.bad_words_ids is not None:
        found.append(NoBadWordsLogitsProcessor(settings.bad_words_ids, ends))
    return found
