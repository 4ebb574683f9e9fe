"""Tiny LLaVA 1.5, LLaVA-NeXT and LLaVA-OneVision."""

from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from autosteer_core.backbones.llava import Llava
from autosteer_core.backbones.llava_next import LlavaNext
from tests.tiny_model import tiny_llava_onevision
from tests.tiny_models.parts import VISION, Tiny, built, llama
from tests.tiny_models.vocabulary import tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
PINPOINTS = [[28, 56], [56, 28], [56, 56]]


def llava(seed: int = 0) -> Tiny:
    """LLaVA 1.5: CLIP without its class vector, four vectors a picture."""
    words = tokenizer("llama", ["<image>"], TEMPLATE)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=llama(len(words)), image_token_index=3,
        image_seq_length=4,
    )  # fmt: skip
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return Tiny(Llava(built(LlavaForConditionalGeneration, config, seed), processor), processor)


def llava_next(seed: int = 0) -> Tiny:
    """LLaVA-NeXT: tiles by aspect ratio, with row ends."""
    words = tokenizer("llama", ["<image>"], TEMPLATE)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=llama(len(words)), image_token_index=3,
        image_grid_pinpoints=PINPOINTS,
    )  # fmt: skip
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=PINPOINTS
    )
    processor = LlavaNextProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return Tiny(LlavaNext(built(LlavaNextForConditionalGeneration, config, seed), processor), processor)


def llava_onevision(seed: int = 0) -> Tiny:
    """The model that most other tests use."""
    backbone = tiny_llava_onevision(seed)
    return Tiny(backbone, backbone.processor)
