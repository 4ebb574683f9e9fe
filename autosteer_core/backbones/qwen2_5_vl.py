"""Qwen2.5-VL: Qwen2-VL with a windowed vision tower."""

from typing import Any, ClassVar

from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

from autosteer_core.backbones.qwen2_vl import Qwen2VL
from autosteer_core.backbones.still_processor import without_video


class Qwen25VL(Qwen2VL):
    """`Qwen2_5_VLForConditionalGeneration`."""

    processor_class: ClassVar[Any] = without_video(Qwen2_5_VLProcessor)
