"""Qwen2-VL: pictures of any size, positions in three dimensions (M-RoPE)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.still_processor import without_video


class Qwen2VL(ChatBackbone):
    """`Qwen2VLForConditionalGeneration`; the model derives positions from whole prompts, so no prefix is shared."""

    processor_class: ClassVar[Any] = without_video(Qwen2VLProcessor)

    @property
    def tower(self) -> nn.Module:
        """The vision tower is called `visual` here; a picture is as many rows as its grid has patches."""
        return self.model.model.visual  # type: ignore[no-any-return]

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Text counts up, a picture spans a grid, (3, N, T); nothing is remembered on the model."""
        body: Any = self.body
        positions_3NT, _ = body.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )
        return positions_3NT  # type: ignore[no-any-return]

    def _per_token(self, input_ids_NT: Tensor) -> Mapping[str, Tensor]:
        """Which tokens are picture vectors: the model lays their positions out as a grid."""
        return {"mm_token_type_ids": torch.eq(input_ids_NT, self.image_token_id).long()}
