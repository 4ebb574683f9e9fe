"""What the probe read of an item, kept: so that another probe can read it again without the model."""

from hashlib import sha256

from torch import Tensor

from autosteer_core.values import Activation, Item

HALF = "<f2"  # numpy's name of a little-endian float16


def kept(item: Item, activation_D: Tensor) -> Activation:
    """Of the item that was read and its activation (d,)."""
    # bytes by numpy: what is read on another machine must not depend on this one's order.
    vector = activation_D.detach().cpu().numpy().astype(HALF).tobytes()
    return Activation(content_hash(item), vector, item.modality)


def content_hash(item: Item) -> bytes:
    """SHA-256 of what the model is shown: equal for items that differ in id, row and annotation only."""
    pictures = [sha256(image).digest() for image in item.images]
    shown = (item.text, pictures) if item.system is None else (item.text, pictures, item.system)
    return sha256(repr(shown).encode()).digest()
