"""Tiny Idefics3 and SmolVLM."""

from functools import partial
from typing import Any

from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    ProcessorMixin,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from autosteer_core.backbones.idefics3 import Idefics3
from autosteer_core.backbones.smolvlm import SmolVLM
from autosteer_core.backbones.still_processor import without_video
from tests.tiny_models.parts import VISION, Tiny, built, llama
from tests.tiny_models.vocabulary import tokenizer

TILES = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
CONTROL = ["<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>", *TILES]
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
SPLITTING: dict[str, Any] = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}


def _config(config_class: Any, vocabulary: int) -> Any:
    vision = VISION | {"patch_size": 7}
    return config_class(
        vision_config=vision, text_config=llama(vocabulary).to_dict(), scale_factor=2, image_token_id=5,
        pad_token_id=0,
    )  # fmt: skip


def idefics3(seed: int = 0) -> Tiny:
    """Up to four tiles and the whole picture, four vectors each."""
    words = tokenizer("bytes", CONTROL, TEMPLATE)
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(**SPLITTING), words, image_seq_len=4, chat_template=TEMPLATE
    )
    model = built(Idefics3ForConditionalGeneration, _config(Idefics3Config, len(words)), seed)
    return Tiny(Idefics3(model, processor), processor)


def smolvlm(seed: int = 0) -> Tiny:
    """The same sizes; its own processor, without video, is what prompts are compared with."""
    words = tokenizer("bytes", CONTROL, TEMPLATE)
    images = SmolVLMImageProcessorPil(**SPLITTING)
    processor = Idefics3Processor(images, words, image_seq_len=4, chat_template=TEMPLATE)
    own = without_video(SmolVLMProcessor)(images, words, image_seq_len=4, chat_template=TEMPLATE)
    # Its own method of this name differs in video settings only, and asks the video part for them.
    own.apply_chat_template = partial(ProcessorMixin.apply_chat_template, own)
    model = built(SmolVLMForConditionalGeneration, _config(SmolVLMConfig, len(words)), seed)
    return Tiny(SmolVLM(model, processor), own)
