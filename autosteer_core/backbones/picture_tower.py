"""A small vision tower: it names the drawn object or reads the drawn word, in a few vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from autosteer_core.backbones.efficient_trunk import FEATURES, Trunk
from autosteer_core.backbones.word_reader import WordReader


class PictureTowerConfig(PreTrainedConfig):
    """Sizes; the tower emits (image_size / patch_size) squared vectors, as Transformers counts patches."""

    model_type = "autosteer_picture_tower"

    image_size: int = 160
    patch_size: int = 80
    trunk_size: int = 128
    hidden_size: int = 256
    concepts: int = 240
    words: int = 715
    word_letters: int = 12


class PictureTower(PreTrainedModel):
    """Attends over a learned memory of concepts and of words; each entry holds one vector per slot."""

    config_class = PictureTowerConfig
    base_model_prefix = "picture_tower"
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: PictureTowerConfig) -> None:
        super().__init__(config)
        slots = (config.image_size // config.patch_size) ** 2
        self.trunk = Trunk()
        self.concept_keys = nn.Linear(FEATURES, config.concepts)
        self.is_word = nn.Linear(FEATURES, 1)
        self.reader = WordReader(config.words, config.word_letters)
        self.concept_memory = nn.Parameter(torch.zeros(config.concepts, slots, config.hidden_size))
        self.word_memory = nn.Parameter(torch.zeros(config.words, slots, config.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights always come from a checkpoint or from the training script."""

    def features(self, pixel_values: Tensor) -> Tensor:
        """The trunk's raw features, for the raw-feature control of the evaluation."""
        side = (self.config.trunk_size, self.config.trunk_size)
        small = nn.functional.interpolate(pixel_values, side, mode="bilinear", antialias=False)
        features: Tensor = self.trunk(small)
        return features

    def reading(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Attention over concepts, and over words; together they sum to one per picture."""
        features = self.features(pixel_values)
        concepts = self.concept_keys(features).float().softmax(-1)
        word_B1 = self.is_word(features).float().sigmoid()
        return concepts * (1 - word_B1), self.reader(pixel_values) * word_B1

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """`hidden_states` has one entry, so that `vision_feature_layer=-1` finds it."""
        concepts, words = self.reading(pixel_values.to(self.dtype))
        read = torch.einsum("bc,csh->bsh", concepts, self.concept_memory.float())
        read = read + torch.einsum("bw,wsh->bsh", words, self.word_memory.float())
        hidden = read.to(self.dtype)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden, pooler_output=hidden.mean(1), hidden_states=(hidden,)
        )


AutoConfig.register(PictureTowerConfig.model_type, PictureTowerConfig)
AutoModel.register(PictureTowerConfig, PictureTower)
