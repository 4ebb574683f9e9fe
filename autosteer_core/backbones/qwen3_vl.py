"""Qwen3-VL: picture features also enter after the first blocks (DeepStack), at picture positions only."""

from typing import Any, ClassVar

from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from autosteer_core.backbones.qwen2_vl import Qwen2VL
from autosteer_core.backbones.still_processor import without_video


class Qwen3VL(Qwen2VL):
    """`Qwen3VLForConditionalGeneration`; the last prompt token is text, so a layer's reading is its block's input."""

    processor_class: ClassVar[Any] = without_video(Qwen3VLProcessor)
