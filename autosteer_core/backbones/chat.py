"""What all chat families share: prompts spliced by ids, left-padded batches, the identity of the model."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from jinja2 import TemplateError
from PIL.Image import Image
from torch import Tensor, nn

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat_frame import ChatFrame, chat_frame, system_frame
from autosteer_core.backbones.chat_prompt import ChatPrompt, stack_pictures
from autosteer_core.backbones.context import check_context
from autosteer_core.backbones.still_processor import load_still_processor
from autosteer_core.backbones.user_text import UserText
from autosteer_core.errors import BadItem
from autosteer_core.fingerprint import fingerprint
from autosteer_core.item_pictures import check_count, decode_all
from autosteer_core.picture_features import PictureFeatures
from autosteer_core.pictures import DirectDecoder, PictureDecoder
from autosteer_core.values import Fingerprint, Item

# What a processor says of the tokens; collate derives it from the ids instead.
_OF_TOKENS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}


class ChatBackbone:
    """A model and its processor behind the Backbone port; a family overrides what differs."""

    # Padding between a shared prefix and the rest is harmless only to plain positions and unbounded attention.
    shares_prefix: ClassVar[bool] = False
    processor_class: ClassVar[Any] = None

    def __init__(self, model: Any, processor: Any, max_prompt_tokens: int = 1024) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.max_prompt_tokens = max_prompt_tokens
        self.decoder: PictureDecoder = DirectDecoder()
        self._user_text = UserText(self.tokenizer)
        self._frames: dict[tuple[int, bool], ChatFrame] = {}

    @classmethod
    def load_processor(cls, source: str) -> Any:
        """The processor of a folder or hub id, for still pictures, by Pillow."""
        return load_still_processor(source, cls.processor_class)

    @property
    def body(self) -> nn.Module:
        """Vision tower, projector, decoder and final norm."""
        return self.model.model  # type: ignore[no-any-return]

    @property
    def tower(self) -> nn.Module | None:
        """Turns pictures into vectors; the costly part before the projector."""
        return getattr(self.model.model, "vision_tower", None)

    @cached_property
    def features(self) -> PictureFeatures:
        """Of this model's tower."""
        return PictureFeatures(self.tower)

    @property
    def blocks(self) -> nn.ModuleList:
        """The language model's decoder blocks."""
        return self.model.model.language_model.layers  # type: ignore[no-any-return]

    @property
    def head(self) -> nn.Module:
        """The output matrix, tied to the embeddings in small models; what caps logits comes after it."""
        return self.model.lm_head  # type: ignore[no-any-return]

    @property
    def context_tokens(self) -> int | None:
        """What the language model's configuration states."""
        stated: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return stated

    @property
    def image_token_id(self) -> int:
        """The placeholder that one picture vector replaces; -1, which no token is, where there are no pictures."""
        return getattr(self.model.config, "image_token_id", -1)

    @cached_property
    def suppressed(self) -> frozenset[int]:
        """None: the family answers in words only."""
        return frozenset()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashed from memory at first use: about a second a gigabyte."""
        return fingerprint(self.model, self.processor)

    def encode(self, item: Item) -> Prompt:
        """Spliced by ids: template pieces may hold control tokens, the user's text never does.

        Raises:
            BadItem: an image cannot be decoded, there are more than the template shows (E_IMAGE_COUNT), it has no
                place for a system message (E_SYSTEM_MESSAGE), the text has
                a control token (E_PLACEHOLDER), the pictures alone (E_IMAGE_TOKENS) or all of the prompt
                (E_TEXT_TOO_LONG) have more than `max_prompt_tokens`, or the prompt leaves no room for an answer in
                the model's context (E_CONTEXT).
        """
        frame = self._frame(len(item.images), item.system is not None)
        check_count(len(item.images), self._places(frame, len(item.images)))
        images = decode_all(item.images, self.decoder)
        above = self._above(frame, item.system)
        front, pictures = self._front(frame, images)
        body = self._user_text.encode(frame.around(item.text, item.system), opens=not frame.head)
        prompt = ChatPrompt(above + front + body + self._trusted(frame.rest), pictures)
        self._check(prompt.ids, front)
        return prompt

    @cached_property
    def opening(self) -> list[int]:
        """Up to the last control token that items with and without pictures have in common."""
        opening, *others = self._openings()
        if not all(frame.head.startswith(opening.head) for frame in others):
            return []
        return self._front(opening, [])[0]

    @property
    def shared_prefix(self) -> list[int]:
        """The opening, or nothing where the family's positions or attention allow none."""
        return self.opening if self._can_share else []

    def collate(self, prompts: Sequence[Prompt], skip: int = 0) -> Mapping[str, Tensor]:
        """`input_ids` and `attention_mask` (N, T), what the family wants per token, and the pictures in row order."""
        kept = [prompt.ids[skip:] for prompt in prompts]
        longest = max(len(ids) for ids in kept)
        input_ids_NT = torch.tensor([[self.tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in kept])
        mask_NT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in kept])
        batch = {"input_ids": input_ids_NT, "attention_mask": mask_NT}
        batch |= self._per_token(input_ids_NT)
        batch |= stack_pictures([prompt.pictures for prompt in prompts if isinstance(prompt, ChatPrompt)])
        return {name: self._place(tensor) for name, tensor in batch.items()}

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Counted from the first token that is not padding, (N, T)."""
        return (inputs["attention_mask"].cumsum(dim=1) - 1).clamp_min(0)

    @property
    def _can_share(self) -> bool:
        return self.shares_prefix and attends_everywhere(self.model.config.get_text_config())

    def _openings(self) -> list[ChatFrame]:
        return [self._frame(0), self._frame(1)]

    def _frame(self, images: int, system: bool = False) -> ChatFrame:
        if (images, system) not in self._frames:
            self._frames[images, system] = self._system_frame(images) if system else self._plain_frame(images)
        return self._frames[images, system]

    def _plain_frame(self, images: int) -> ChatFrame:
        return chat_frame(lambda text: self._render(text, images), self._user_text)

    def _system_frame(self, images: int) -> ChatFrame:
        try:
            return system_frame(lambda system, text: self._render(text, images, system), self._user_text)
        except (ValueError, TemplateError) as error:
            raise BadItem(
                "E_SYSTEM_MESSAGE",
                f"the model's chat template has no place for a system message ({error!s:.80}): put it into the "
                "user's text",
                "system",
            ) from None

    def _render(self, text: str, images: int, system: str | None = None) -> str:
        content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
        turns: list[Any] = [{"role": "user", "content": content}]
        if system is not None:
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        return self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)  # type: ignore[no-any-return]

    def _above(self, frame: ChatFrame, system: str | None) -> list[int]:
        """Ids of everything up to the turn that begins with `frame.head`; nothing without a system message."""
        if frame.above is None or system is None:
            return []
        start = self._trusted(frame.start, add_special_tokens=self._adds_start(frame.start))
        return start + self._user_text.encode(frame.above.around(system), opens=not frame.start)

    def _adds_start(self, opening: str) -> bool:
        """Whether the tokenizer has to begin the prompt, because the template does not."""
        return not opening.startswith(self.tokenizer.bos_token or "\0")

    def _front(self, frame: ChatFrame, images: Sequence[Image]) -> tuple[list[int], Mapping[str, Tensor]]:
        """Ids and picture tensors of the trusted text before the user's piece, which holds the pictures' places."""
        adds = frame.above is None and self._adds_start(frame.head)
        if not images:
            return self._trusted(frame.head, add_special_tokens=adds), {}
        encoded = self.processor(
            text=[frame.head], images=[list(images)], return_tensors="pt", add_special_tokens=adds
        )
        pictures = {name: torch.as_tensor(value) for name, value in encoded.items() if name not in _OF_TOKENS}
        return encoded["input_ids"][0].tolist(), pictures

    def _places(self, frame: ChatFrame, wanted: int) -> int:
        """How many pictures the template shows; some write no token that the processor names."""
        return frame.head.count(getattr(self.processor, "image_token", None) or "\0") or wanted

    def _per_token(self, input_ids_NT: Tensor) -> Mapping[str, Tensor]:
        """Further model inputs of shape (N, T)."""
        return {}

    def _trusted(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]  # type: ignore[no-any-return]

    def _check(self, ids: list[int], front: list[int]) -> None:
        if ids.count(self.image_token_id) != front.count(self.image_token_id):
            raise BadItem("E_PLACEHOLDER", "the text encodes to a picture placeholder: remove control tokens", "text")
        self._check_length(len(ids), ids.count(self.image_token_id))

    def _check_length(self, tokens: int, pictures: int) -> None:
        if pictures > self.max_prompt_tokens:
            raise BadItem(
                "E_IMAGE_TOKENS",
                f"the pictures alone make {pictures} tokens, at most {self.max_prompt_tokens} allowed in a prompt: "
                "give fewer or smaller pictures, or raise max_prompt_tokens",
            )
        if tokens > self.max_prompt_tokens:
            raise BadItem(
                "E_TEXT_TOO_LONG",
                f"the prompt has {tokens} tokens, {pictures} of them pictures, "
                f"at most {self.max_prompt_tokens} allowed: shorten the item or raise max_prompt_tokens",
                "text",
            )
        check_context(tokens, 1, self.context_tokens)

    def _place(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.model.device)
        return moved.to(self.model.dtype) if moved.is_floating_point() else moved


def attends_everywhere(config: Any) -> bool:
    """No layer has a window, and no position's angle depends on how long the prompt is."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    return not window and set(kinds) == {"full_attention"} and rope not in {"dynamic", "longrope"}
