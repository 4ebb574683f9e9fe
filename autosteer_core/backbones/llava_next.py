"""LLaVA-NeXT: a picture is tiled by its aspect ratio, so the number of vectors differs between pictures."""

from typing import Any, ClassVar

from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from autosteer_core.backbones.chat import ChatBackbone


class LlavaNext(ChatBackbone):
    """`LlavaNextForConditionalGeneration`."""

    shares_prefix: ClassVar[bool] = True
    processor_class: ClassVar[Any] = LlavaNextProcessor
