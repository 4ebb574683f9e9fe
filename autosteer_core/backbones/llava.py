"""LLaVA 1.5: every picture has the same size and the same number of vectors."""

from typing import Any, ClassVar

from transformers.models.llava.processing_llava import LlavaProcessor

from autosteer_core.backbones.chat import ChatBackbone


class Llava(ChatBackbone):
    """`LlavaForConditionalGeneration`."""

    shares_prefix: ClassVar[bool] = True
    processor_class: ClassVar[Any] = LlavaProcessor
