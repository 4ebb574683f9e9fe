"""Tiny Chameleon: a VQ-VAE with eight codes, four tokens a picture, no chat template."""

from typing import Any

from tokenizers import processors
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    ChameleonProcessor,
    ChameleonVQVAEConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.chameleon.image_processing_pil_chameleon import ChameleonImageProcessorPil

from autosteer_core.backbones.chameleon import Chameleon
from tests.tiny_models.parts import SIZES, Tiny, built
from tests.tiny_models.vocabulary import START, tokenizer

BOI, EOI, SEP, IMAGE = "<racm3:break>", "<eoss>", "<reserved08706>", "<image>"
CODES = [f"IMGIMG{letter}Z" for letter in "ABCDEFGH"]
CONTROL = [*CODES, EOI, BOI, SEP, IMAGE]
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %} Answer:{% endfor %}"
)


def chameleon(seed: int = 0, template: str | None = None, **changes: Any) -> Tiny:
    """`changes` go into the configuration, `swin_norm` for example."""
    words = vocabulary(template)
    size = {"height": 16, "width": 16}
    images = ChameleonImageProcessorPil(size={"shortest_edge": 16}, crop_size=size)
    processor = ChameleonProcessor(images, words, image_seq_length=4)
    processor.chat_template = template
    model = built(ChameleonForConditionalGeneration, _config(words, changes), seed)
    return Tiny(Chameleon(model, processor), processor)


def vocabulary(template: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level, with Chameleon's names for control and image tokens and its beginning of text."""
    words = tokenizer("bytes", CONTROL, template, sep_token=SEP)
    words.bos_token = START
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{START} $A", special_tokens=[(START, 2)])
    return words


def _config(words: PreTrainedTokenizerFast, changes: dict[str, Any]) -> ChameleonConfig:
    vision = ChameleonVQVAEConfig(
        embed_dim=8, num_embeddings=8, latent_channels=8, resolution=16, base_channels=32,
        channel_multiplier=[1, 1, 1, 1], num_res_blocks=1,
    )  # fmt: skip
    return ChameleonConfig(
        **SIZES | changes, vocab_size=len(words), vq_config=vision, vocabulary_map=words.get_vocab()
    )
