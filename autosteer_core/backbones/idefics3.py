"""Idefics3: a picture is cut into tiles, each announced by row and column, plus the whole picture."""

from typing import Any, ClassVar

from torch import nn
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from autosteer_core.backbones.chat import ChatBackbone


class Idefics3(ChatBackbone):
    """`Idefics3ForConditionalGeneration`."""

    shares_prefix: ClassVar[bool] = True
    processor_class: ClassVar[Any] = Idefics3Processor

    @property
    def tower(self) -> nn.Module:
        """The vision tower is called `vision_model` here."""
        return self.model.model.vision_model  # type: ignore[no-any-return]

    @property
    def blocks(self) -> nn.ModuleList:
        """The language model is called `text_model` here."""
        return self.model.model.text_model.layers  # type: ignore[no-any-return]
