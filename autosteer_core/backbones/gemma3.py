"""Gemma 3: vectors of one picture see each other both ways; most layers attend within a sliding window."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor

from autosteer_core.backbones.chat import ChatBackbone


class Gemma3(ChatBackbone):
    """`Gemma3ForConditionalGeneration`; padding inside a window would move it, so no prefix is shared."""

    processor_class: ClassVar[Any] = Gemma3Processor

    def _per_token(self, input_ids_NT: Tensor) -> Mapping[str, Tensor]:
        """Which tokens are picture vectors."""
        return {"token_type_ids": torch.eq(input_ids_NT, self.image_token_id).long()}
