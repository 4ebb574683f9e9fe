"""LLaVA-OneVision: one picture is tiled, several are not."""

from typing import Any, ClassVar

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.llava_onevision_processor import PictureProcessor


class LlavaOnevision(ChatBackbone):
    """`LlavaOnevisionForConditionalGeneration`."""

    shares_prefix: ClassVar[bool] = True
    processor_class: ClassVar[Any] = PictureProcessor
