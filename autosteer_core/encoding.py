"""From items to prompts, in order; an item that cannot be shown to the model costs its own row."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from autosteer_core.backbones.base import Prompt
from autosteer_core.errors import BadItem
from autosteer_core.values import Item

Encoded = tuple[Item, Prompt | BadItem]


class Encoder(Protocol):
    """Decodes pictures and splits texts into tokens, perhaps ahead of whoever asks."""

    def encode(self, items: Iterable[Item]) -> Iterator[Encoded]:
        """Every item with its prompt or with what is wrong with it, in order; `items` may be endless."""
        ...


class ItemEncoder(Protocol):
    """The part of a Backbone that encoding needs: no weights."""

    def encode(self, item: Item) -> Prompt:
        """See Backbone."""
        ...


class InlineEncoder:
    """Encodes one item at a time, when it is asked for."""

    def __init__(self, backbone: ItemEncoder) -> None:
        self._backbone = backbone

    def encode(self, items: Iterable[Item]) -> Iterator[Encoded]:
        """As Encoder asks."""
        return ((item, encode_item(self._backbone, item)) for item in items)


def encode_item(backbone: ItemEncoder, item: Item) -> Prompt | BadItem:
    """The item as the model sees it, or why it cannot."""
    try:
        if item.flaw is not None:
            raise BadItem(item.flaw.code, item.flaw.message, item.flaw.column)
        return backbone.encode(item)
    except BadItem as error:
        return error
