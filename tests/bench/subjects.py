"""The model that is measured and random bundles for it: costs depend on shapes, not on what was learned."""

import os
from typing import Any

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config, SiglipVisionConfig

from autosteer_core.backbones.base import Backbone
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.bundle import Bundle
from autosteer_core.guarantee import Guarantee
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Pooling, Site
from pipelines.demo.model import demo_model_folder
from pipelines.engines import load_backbone
from pipelines.settings import load_settings

# The language models of the published checkpoints; the weights are random, the questions are text.
SHAPES: dict[str, dict[str, int]] = {
    "onevision-0.5b": {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 152_000,
    },
    "onevision-7b": {
        "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152_128,
    },
}  # fmt: skip
ALWAYS, NEVER = 0.0, 1.0
_RANK, _HIDDEN = 32, 64


def subject() -> Backbone:
    """The demo model, or the shape that BENCH_SHAPE names; answers never end by themselves."""
    shape = os.environ.get("BENCH_SHAPE", "demo")
    backbone = load_backbone(load_settings()) if shape == "demo" else random_backbone(SHAPES[shape])
    backbone.model.generation_config.eos_token_id = None
    return backbone


def random_backbone(text: dict[str, int]) -> Backbone:
    """LLaVA-OneVision of this shape in bfloat16 on the GPU where there is one, with the demo's tokenizer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**text, max_position_embeddings=32_768), vision_config=SiglipVisionConfig()
    )
    with torch.device(device):
        model: Any = LlavaOnevisionForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return LlavaOnevision(model, LlavaOnevision.load_processor(str(demo_model_folder())))


def random_bundle(backbone: Backbone, threshold: float, seed: int = 0) -> Bundle:
    """A probe in the middle that splits prompts by chance, and a head strong enough to change answers."""
    generator = torch.Generator().manual_seed(seed)
    width = backbone.model.config.get_text_config().hidden_size

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    probe = Probe(
        mean=torch.zeros(width),
        scale=torch.ones(width),
        inner_weight=random(_HIDDEN, width) / width**0.5,
        inner_bias=random(_HIDDEN),
        outer_weight=random(_HIDDEN) / _HIDDEN**0.5,
        outer_bias=torch.tensor(0.0),
        temperature=torch.tensor(8.0),
    )
    head = RefusalHead(random(width, _RANK) / width**0.5, random(width, _RANK) / width**0.5, epsilon=0.1)
    guarantee = Guarantee(threshold, 0.1, 0.05, 60, 0, 0.05, 60, 3, 0.13)
    site = Site(len(backbone.blocks) // 2, Pooling.LAST)
    return Bundle(backbone.fingerprint, (site,), probe, head, guarantee, "Sorry, I can't.", "steer", {})
