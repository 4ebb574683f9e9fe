"""Sizes and pieces that the tiny models share."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, Qwen2Config, SiglipVisionConfig

from autosteer_core.backbones.chat import ChatBackbone

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.4,
    "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 2,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "initializer_range": 0.2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tiny:
    """A tiny backbone with the family's own processor, which tests compare ours with."""

    backbone: ChatBackbone
    own_processor: Any


def llama(vocabulary: int) -> LlamaConfig:
    """A Llama decoder of four blocks."""
    return LlamaConfig(**SIZES, vocab_size=vocabulary)


def qwen2(vocabulary: int) -> Qwen2Config:
    """A Qwen2 decoder of four blocks."""
    return Qwen2Config(**SIZES, vocab_size=vocabulary, tie_word_embeddings=True)


def siglip(**changes: Any) -> SiglipVisionConfig:
    """A SigLIP tower of two blocks."""
    return SiglipVisionConfig(**VISION | changes)


def built(model_class: Any, config: Any, seed: int) -> Any:
    """Random weights, the same for the same seed; answers end with the stop token."""
    torch.manual_seed(seed)
    model = model_class(config)
    model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 0
    return model
