"""Load a family's processor for still pictures: Pillow only, no video part, so no torchvision.

The same path everywhere: pictures are resized by Pillow on every machine, so that a bundle's threshold means the same
on all of them.
"""

import inspect
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer


def load_still_processor(source: str, processor_class: Any) -> Any:
    """The processor of a folder or hub id, padding on the left as generation needs."""
    settings, _ = processor_class.get_processor_dict(source)
    names = set(inspect.signature(processor_class.__init__).parameters) & set(settings)
    names -= {"image_processor", "tokenizer", "video_processor", "kwargs"}
    tokenizer = load_tokenizer(source)
    kept = {name: settings[name] for name in names} | {
        "chat_template": settings.get("chat_template") or tokenizer.chat_template
    }
    return processor_class(
        AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False), tokenizer, **kept
    )


def load_tokenizer(source: str) -> Any:
    """The tokenizer, padding on the left; a model without a padding token is padded with its stop token."""
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def without_video(processor_class: Any) -> Any:
    """The same processor without its video part, which nothing here uses and which needs torchvision."""

    class StillProcessor(processor_class):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
            super().__init__(image_processor, tokenizer, video_processor=None, **kwargs)

    signature = inspect.signature(processor_class.__init__)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "video_processor"]
    # Transformers reads from this signature which parts there are and which settings are saved.
    StillProcessor.__init__.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return StillProcessor
