"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from typing import Any

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from autosteer_core.backbones.qwen2_5_vl import Qwen25VL
from autosteer_core.backbones.qwen2_vl import Qwen2VL
from autosteer_core.backbones.qwen3_vl import Qwen3VL
from tests.tiny_models.parts import SIZES, Tiny, built
from tests.tiny_models.vocabulary import tokenizer

CONTROL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDS = {
    "vision_start_token_id": 5, "vision_end_token_id": 6, "image_token_id": 7, "video_token_id": 8,
    "tie_word_embeddings": True,
}  # fmt: skip
PATCHES = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "initializer_range": 0.2}


def _text(vocabulary: int, section: list[int], **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section}
    return SIZES | {"vocab_size": vocabulary, "rope_parameters": rope} | more


def _tiny(family: Any, model_class: Any, config_class: Any, seed: int, text: Any, vision: Any) -> Tiny:
    words = tokenizer("bytes", CONTROL, TEMPLATE)
    config = config_class(text_config=_text(len(words), **text), vision_config=PATCHES | vision, **IDS)
    images = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 64, "longest_edge": 1024}
    )
    processor = family.processor_class(images, words, chat_template=TEMPLATE)
    return Tiny(family(built(model_class, config, seed), processor), processor)


def qwen2_vl(seed: int = 0) -> Tiny:
    """Two blocks of vision, one vector for four patches."""
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return _tiny(Qwen2VL, Qwen2VLForConditionalGeneration, Qwen2VLConfig, seed, {"section": [2, 1, 1]}, vision)


def qwen2_5_vl(seed: int = 0) -> Tiny:
    """One vision block sees a window, the other everything."""
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return _tiny(Qwen25VL, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, seed, {"section": [2, 1, 1]}, vision)


def qwen3_vl(seed: int = 0) -> Tiny:
    """Features of both vision blocks also enter after the decoder's first two."""
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    text = {"section": [2, 1, 1], "head_dim": 8}
    return _tiny(Qwen3VL, Qwen3VLForConditionalGeneration, Qwen3VLConfig, seed, text, vision)
