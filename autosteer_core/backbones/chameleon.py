"""Chameleon: pictures are tokens of the vocabulary, and the released checkpoints have no chat template."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL.Image import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor
from transformers.models.chameleon.processing_chameleon import ChameleonProcessor

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.chat_frame import ChatFrame
from autosteer_core.backbones.still_processor import load_tokenizer
from autosteer_core.errors import BadItem
from autosteer_core.values import Fingerprint


class Chameleon(ChatBackbone):
    """`ChameleonForConditionalGeneration`; its VQ-VAE turns every picture into tokens inside the forward pass."""

    shares_prefix: ClassVar[bool] = True

    @classmethod
    def load_processor(cls, source: str) -> Any:
        """The processor of a folder or hub id, by Pillow; its class takes no template of its own."""
        settings, _ = ChameleonProcessor.get_processor_dict(source)
        kept = {name: settings[name] for name in ("image_seq_length", "image_token") if name in settings}
        images = AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
        tokenizer = load_tokenizer(source)
        processor = ChameleonProcessor(images, tokenizer, **kept)
        processor.chat_template = settings.get("chat_template") or tokenizer.chat_template
        return processor

    @property
    def tower(self) -> nn.Module:
        """The encoder of the VQ-VAE; to look its vectors up in the code book costs little."""
        return self.model.model.vqmodel.encoder  # type: ignore[no-any-return]

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks, of either norm order (`config.swin_norm`)."""
        return self.model.model.layers  # type: ignore[no-any-return]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """As of every family, and what stands in for a template: separator and tokens a picture."""
        frame = f"{self._render('', 1)} {self.processor.image_seq_length}"
        return Fingerprint(hashlib.sha256(f"{super().fingerprint} {frame}".encode()).hexdigest())

    @cached_property
    def suppressed(self) -> frozenset[int]:
        """All that would begin, make or end a picture: 8,195 tokens in the released checkpoints.

        The model's own forward masks the image tokens, but neither the two that enclose them nor the placeholder.
        """
        return frozenset(self.model.model.vocabulary_mapping.image_tokens) | frozenset(self.processor.image_token_ids)

    def _render(self, text: str, images: int, system: str | None = None) -> str:
        """As Chameleon's processor writes a chat, with a template or without: it ends with a separator.

        Without a template there is no place for a system message, and it is not written.
        """
        if not self.processor.chat_template:
            return f"{self.processor.image_token * images}{text}{self.tokenizer.sep_token}"
        return f"{super()._render(text, images, system)}{self.tokenizer.sep_token}"

    def _front(self, frame: ChatFrame, images: Sequence[Image]) -> tuple[list[int], Mapping[str, Tensor]]:
        """The processor says what one picture's placeholders are; called whole, it would add a separator here too."""
        adds = frame.above is None and self._adds_start(frame.head)
        one_picture = self.processor.replace_image_token({}, 0)
        head = frame.head.replace(self.processor.image_token, one_picture)
        ids = self._trusted(head, add_special_tokens=adds)
        if not images:
            return ids, {}
        return ids, {
            "pixel_values": self.processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        }

    def _check(self, ids: list[int], front: list[int]) -> None:
        """Image tokens have names in the vocabulary: a text that spelled one would be read as a picture's part."""
        super()._check(ids, front)
        if _among(self.suppressed, ids) != _among(self.suppressed, front):
            raise BadItem("E_PLACEHOLDER", "the text encodes to a picture token: remove control tokens", "text")


def _among(tokens: frozenset[int], ids: Sequence[int]) -> int:
    return sum(number in tokens for number in ids)
