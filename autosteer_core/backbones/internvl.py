"""InternVL in its Transformers form: a picture is cut into tiles of one size, each a fixed number of vectors."""

from typing import Any, ClassVar

from transformers.models.internvl.processing_internvl import InternVLProcessor

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.still_processor import without_video


class InternVL(ChatBackbone):
    """`InternVLForConditionalGeneration`."""

    shares_prefix: ClassVar[bool] = True
    processor_class: ClassVar[Any] = without_video(InternVLProcessor)
