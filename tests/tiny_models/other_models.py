"""Tiny InternVL and Gemma 3."""

from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from autosteer_core.backbones.gemma3 import Gemma3
from autosteer_core.backbones.internvl import InternVL
from tests.tiny_models.parts import SIZES, VISION, Tiny, built, qwen2, siglip
from tests.tiny_models.vocabulary import tokenizer

INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ '<IMG_CONTEXT>\n' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GEMMA_CONTROL = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]


def internvl(seed: int = 0) -> Tiny:
    """Up to two tiles and the whole picture, four vectors each."""
    control = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = tokenizer(
        "bytes", control, INTERNVL_TEMPLATE, start_image_token="<img>", end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    vision = InternVLVisionConfig(**VISION | {"image_size": [28, 28], "patch_size": [7, 7]})
    config = InternVLConfig(vision_config=vision, text_config=qwen2(len(words)), image_token_id=7, image_seq_length=4)
    images = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, min_patches=1, max_patches=2)
    processor = InternVL.processor_class(images, words, image_seq_length=4, chat_template=INTERNVL_TEMPLATE)
    return Tiny(InternVL(built(InternVLForConditionalGeneration, config, seed), processor), processor)


def gemma3(seed: int = 0) -> Tiny:
    """Windows of 8 tokens in every other block, capped logits, four vectors a picture."""
    words = tokenizer(
        "gemma", GEMMA_CONTROL, GEMMA_TEMPLATE, boi_token="<start_of_image>", eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )  # fmt: skip
    config = Gemma3Config(
        text_config=gemma3_text(len(words)), vision_config=siglip(patch_size=7), mm_tokens_per_image=4,
        boi_token_index=5, eoi_token_index=6, image_token_index=7, tie_word_embeddings=True,
    )  # fmt: skip
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 28, "width": 28}), words, chat_template=GEMMA_TEMPLATE,
        image_seq_length=4,
    )  # fmt: skip
    return Tiny(Gemma3(built(Gemma3ForConditionalGeneration, config, seed), processor), processor)


def gemma3_text(vocabulary: int) -> Gemma3TextConfig:
    """The decoder of the picture model and of the text-only one."""
    return Gemma3TextConfig(
        **SIZES, vocab_size=vocabulary, head_dim=8, query_pre_attn_scalar=8, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2, final_logit_softcapping=20.0,
    )  # fmt: skip
