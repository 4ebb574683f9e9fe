"""Tiny text-only decoders."""

from collections.abc import Callable
from typing import Any

from transformers import AutoModelForCausalLM, MistralConfig, Qwen3Config

from autosteer_core.backbones.text_decoder import TextDecoder
from tests.tiny_models.other_models import GEMMA_CONTROL, GEMMA_TEMPLATE, gemma3_text
from tests.tiny_models.parts import SIZES, Tiny, built, llama, qwen2
from tests.tiny_models.vocabulary import tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = "{{ bos_token }}{% for message in messages %}[INST] {{ message['content'] | trim }} [/INST]{% endfor %}"


def _qwen3(vocabulary: int) -> Qwen3Config:
    return Qwen3Config(**SIZES, vocab_size=vocabulary, head_dim=8, tie_word_embeddings=True)


def _mistral(vocabulary: int) -> MistralConfig:
    """Every block attends within 8 tokens."""
    return MistralConfig(**SIZES, vocab_size=vocabulary, sliding_window=8)


DECODERS: dict[str, tuple[str, list[str], str, Callable[[int], Any]]] = {
    "llama": ("llama", [], LLAMA, llama),
    "mistral": ("llama", [], LLAMA, _mistral),
    "qwen2": ("bytes", ["<|im_start|>", "<|im_end|>"], CHATML, qwen2),
    "qwen3": ("bytes", ["<|im_start|>", "<|im_end|>"], CHATML, _qwen3),
    "gemma3_text": ("gemma", GEMMA_CONTROL, GEMMA_TEMPLATE, gemma3_text),
}


def text_decoder(family: str, seed: int = 0) -> Tiny:
    """One of DECODERS with its tokenizer."""
    shape, control, template, config = DECODERS[family]
    words = tokenizer(shape, control, template)
    model = built(AutoModelForCausalLM.from_config, config(len(words)), seed)
    return Tiny(TextDecoder(model, words), words)
