"""Text-only decoders: any `AutoModelForCausalLM` with `model.layers` and `lm_head`."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat import ChatBackbone, attends_everywhere
from autosteer_core.backbones.chat_frame import ChatFrame
from autosteer_core.backbones.still_processor import load_tokenizer
from autosteer_core.errors import BadItem
from autosteer_core.values import Item

# Some templates write today's date, which would make a bundle age overnight; this is Llama 3.1's own fallback.
_DATE = "26 Jul 2024"
# Plain rotary positions: what a prefix needs to be shared.
_PLAIN = {"llama", "qwen2", "qwen3", "mistral"}


class TextDecoder(ChatBackbone):
    """A decoder with its tokenizer in place of a processor."""

    @classmethod
    def load_processor(cls, source: str) -> Any:
        """The tokenizer alone."""
        return load_tokenizer(source)

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks."""
        return self.model.model.layers  # type: ignore[no-any-return]

    def encode(self, item: Item) -> Prompt:
        """As every family does, but without pictures.

        Raises:
            BadItem: E_IMAGE_UNSUPPORTED, the item has a picture; otherwise as `ChatBackbone.encode`.
        """
        if item.images:
            raise BadItem(
                "E_IMAGE_UNSUPPORTED",
                f"the item has {len(item.images)} image(s) and the model reads text only: use a multimodal model",
            )
        return super().encode(item)

    @property
    def _can_share(self) -> bool:
        return self.model.config.model_type in _PLAIN and attends_everywhere(self.model.config)

    def _openings(self) -> list[ChatFrame]:
        return [self._frame(0)]

    def _render(self, text: str, images: int, system: str | None = None) -> str:
        turns = [] if system is None else [{"role": "system", "content": system}]
        turns.append({"role": "user", "content": text})
        return self.tokenizer.apply_chat_template(  # type: ignore[no-any-return]
            turns, add_generation_prompt=True, tokenize=False, date_string=_DATE
        )

    def _front(self, frame: ChatFrame, images: Sequence[Image]) -> tuple[list[int], Mapping[str, Tensor]]:
        """A tokenizer's template, unlike a processor's, writes its own first token."""
        return self._trusted(frame.head), {}
