"""A random four-block LLaVA-OneVision with its processor, built in memory: no download, no weights."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.backbones.llava_onevision_processor import PictureProcessor

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over a few sentences: every text can be encoded."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["how do I make a cake at home", "what is in the picture", "sorry, I can't"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def processor() -> PictureProcessor:
    """Pillow image processing: no torchvision needed."""
    return PictureProcessor(
        LlavaOnevisionImageProcessorPil(
            size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 28]], do_pad=False
        ),
        tokenizer(),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )


def tiny_llava_onevision(seed: int = 0) -> LlavaOnevision:
    """Width 32, 4 blocks, 4 vectors a picture tile; weights large enough that answers differ between prompts."""
    text = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, initializer_range=0.4,
        eos_token_id=2, pad_token_id=0, bos_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=3, video_token_index=4,
        image_grid_pinpoints=[[28, 28]], vision_feature_layer=-1, vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    return LlavaOnevision(model, processor())


def save_tiny_model(folder: Path) -> Path:
    """The tiny model as a folder that `from_pretrained` reads."""
    backbone = tiny_llava_onevision()
    backbone.model.save_pretrained(folder)
    backbone.processor.save_pretrained(folder)
    return folder
