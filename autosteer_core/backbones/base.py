"""What a model family must offer so that the method can read it and steer it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from autosteer_core.picture_features import PictureFeatures
from autosteer_core.values import Fingerprint, Item


class Backbone(Protocol):
    """A frozen decoder with its processor. Layer l means the residual stream that enters block l, l >= 1."""

    @property
    def model(self) -> Any:
        """The Transformers model, in eval mode; `generate` is called on it."""
        ...

    @property
    def body(self) -> nn.Module:
        """The model without its output matrix: returns `last_hidden_state`, already normalised."""
        ...

    @property
    def features(self) -> PictureFeatures:
        """What the vision tower made of the pictures that it saw last; lives as long as the backbone."""
        ...

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks in order."""
        ...

    @property
    def head(self) -> nn.Module:
        """The output matrix: normalised hidden state in, logits out."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The text tokenizer, with a padding token."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of weights, processor, template and dtype; computed once."""
        ...

    @property
    def suppressed(self) -> frozenset[int]:
        """Tokens that no answer may hold, such as those that make pictures; usually none."""
        ...

    @property
    def context_tokens(self) -> int | None:
        """Most tokens of a prompt and its answer together, where the model states a limit."""
        ...

    def encode(self, item: Item) -> "Prompt":
        """Token ids and picture tensors of one item; raises BadItem if it cannot be shown to the model."""
        ...

    @property
    def opening(self) -> list[int]:
        """The ids that every prompt begins with, by its template; never a picture placeholder."""
        ...

    @property
    def shared_prefix(self) -> list[int]:
        """The opening where it may be prefilled once for all prompts; empty where prompts must run whole."""
        ...

    def collate(self, prompts: Sequence["Prompt"], skip: int = 0) -> Mapping[str, Tensor]:
        """Left-padded model inputs for several prompts without their first `skip` ids, on the model's device."""
        ...

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Rotary positions of collated inputs, (N, T) or (3, N, T): a row's do not depend on its padding."""
        ...


class Prompt(Protocol):
    """One encoded item."""

    @property
    def ids(self) -> list[int]:
        """Token ids with picture placeholders expanded."""
        ...

    @property
    def pictures(self) -> Mapping[str, Tensor]:
        """The tensors that fill the placeholders, by the model's own names."""
        ...

    def extended(self, ids: list[int]) -> "Prompt":
        """The same prompt followed by more tokens: a forced opening, or an answer to learn from."""
        ...
