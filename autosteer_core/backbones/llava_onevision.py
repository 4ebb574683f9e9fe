"""LLaVA-OneVision: prompts, decoder blocks and output matrix of one family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from autosteer_core.backbones.base import Prompt
from autosteer_core.errors import BadItem
from autosteer_core.fingerprint import fingerprint
from autosteer_core.pictures import decode_picture
from autosteer_core.values import Fingerprint, Item

_USER_TEXT = "\ue000"  # a private-use character that stands for the user's text while the template is rendered


@dataclass(frozen=True, slots=True)
class LlavaOnevisionPrompt:
    """Token ids with the picture placeholders expanded, and the picture tensors that fill them."""

    ids: list[int]
    pixel_values: Tensor | None = None
    image_sizes: Tensor | None = None

    def extended(self, ids: list[int]) -> "LlavaOnevisionPrompt":
        """The same pictures, more tokens."""
        return replace(self, ids=self.ids + ids)


class LlavaOnevision:
    """`LlavaOnevisionForConditionalGeneration` and its processor behind the Backbone port."""

    def __init__(self, model: Any, processor: Any, max_prompt_tokens: int = 1024) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.max_prompt_tokens = max_prompt_tokens

    @property
    def body(self) -> nn.Module:
        """Vision tower, projector, decoder and final norm."""
        return self.model.model  # type: ignore[no-any-return]

    @property
    def blocks(self) -> nn.ModuleList:
        """The language model's decoder blocks."""
        return self.model.model.language_model.layers  # type: ignore[no-any-return]

    @property
    def head(self) -> nn.Module:
        """The output matrix, tied to the embeddings in small models."""
        return self.model.lm_head  # type: ignore[no-any-return]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashed from memory at first use: about a second a gigabyte."""
        return fingerprint(self.model, self.processor)

    def encode(self, item: Item) -> Prompt:
        """Spliced by ids: template pieces may hold control tokens, the user's text never does.

        Raises:
            BadItem: an image cannot be decoded, or the prompt is longer than `max_prompt_tokens`.
        """
        pictures = [decode_picture(data) for data in item.images]
        before, after = self._frame(len(pictures))
        vision = self.processor(text=[before], images=[pictures], return_tensors="pt") if pictures else {}
        front = vision["input_ids"][0].tolist() if pictures else self._trusted(before)
        ids = front + self._untrusted(item.text) + self._trusted(after)
        self._check(ids, front)
        return LlavaOnevisionPrompt(ids, vision.get("pixel_values"), vision.get("image_sizes"))

    @cached_property
    def shared_prefix(self) -> list[int]:
        """System turn and opening of the user's turn."""
        return self._trusted(self._frame(0)[0])

    def collate(self, prompts: Sequence[Prompt], skip: int = 0) -> Mapping[str, Tensor]:
        """`input_ids` and `attention_mask` (N, T), and the pictures of all rows in order."""
        kept = [prompt.ids[skip:] for prompt in prompts]
        longest = max(len(ids) for ids in kept)
        rows = [[self.tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in kept]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in kept]
        batch = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}
        batch |= _stack_pictures([prompt for prompt in prompts if isinstance(prompt, LlavaOnevisionPrompt)])
        return {name: self._place(tensor) for name, tensor in batch.items()}

    def _frame(self, pictures: int) -> tuple[str, str]:
        content = [{"type": "image"}] * pictures + [{"type": "text", "text": _USER_TEXT}]
        rendered = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        before, _, after = rendered.partition(_USER_TEXT)
        return before, after

    def _trusted(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def _untrusted(self, text: str) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return encoded["input_ids"]  # type: ignore[no-any-return]

    def _check(self, ids: list[int], front: list[int]) -> None:
        image_token = self.processor.image_token_id
        if ids.count(image_token) != front.count(image_token):
            raise BadItem("E_PLACEHOLDER", "the text encodes to a picture placeholder: remove control tokens")
        if len(ids) > self.max_prompt_tokens:
            raise BadItem(
                "E_TEXT_TOO_LONG",
                f"the prompt has {len(ids)} tokens, at most {self.max_prompt_tokens} allowed",
            )

    def _place(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.model.device)
        return moved.to(self.model.dtype) if moved.is_floating_point() else moved


def _stack_pictures(prompts: Sequence[LlavaOnevisionPrompt]) -> dict[str, Tensor]:
    """Pictures of all rows, padded with empty tiles to the largest tile count; nothing without pictures."""
    pixels = [prompt.pixel_values for prompt in prompts if prompt.pixel_values is not None]
    sizes = [prompt.image_sizes for prompt in prompts if prompt.image_sizes is not None]
    if not pixels:
        return {}
    tiles = max(tensor.shape[1] for tensor in pixels)
    padded = [nn.functional.pad(tensor, (0, 0) * 3 + (0, tiles - tensor.shape[1])) for tensor in pixels]
    counts = [len(tensor) for tensor in sizes]
    return {
        "pixel_values": torch.cat(padded),
        "image_sizes": torch.cat(sizes),
        "batch_num_images": torch.tensor(counts),
    }
