"""The LLaVA-OneVision processor for still pictures: no video processor, so no torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from autosteer_core.backbones.still_processor import load_still_processor


class PictureProcessor(LlavaOnevisionProcessor):
    """Transformers derives the required parts from this signature; without `video_processor` it asks for none."""

    # Transformers saves exactly the parameters that it finds in this signature.
    def __init__(  # noqa: PLR0913
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str = "full",
        chat_template: str | None = None,
        image_token: str = "<image>",
        video_token: str = "<video>",
        vision_aspect_ratio: str = "anyres_max_9",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            num_image_tokens=num_image_tokens,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            video_token=video_token,
            vision_aspect_ratio=vision_aspect_ratio,
            **kwargs,
        )


def load_processor(folder: Path) -> PictureProcessor:
    """The saved processor, with the PIL image processor and left padding, as generation needs."""
    processor: PictureProcessor = load_still_processor(str(folder), PictureProcessor)
    return processor
