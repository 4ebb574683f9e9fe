"""Start-up self-test: a few golden rows decoded in slots must equal plain `generate`, each alone."""

from collections.abc import Iterator
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode, stop_ids
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.request import Request
from autosteer_core.slots.compiled_blocks import CompiledBlocks
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.steering import steered
from autosteer_core.values import Item

_TOKENS = 6
_SLOTS = 2  # fewer than rows, so that a slot is used twice
_END = -1  # stands for any token that ends an answer


def check_parity(backbone: Backbone, bundle: Bundle, compiled: CompiledBlocks | None = None) -> None:
    """Text and, where the family takes pictures, picture rows, with every other gate open; steps run `compiled`.

    Raises:
        UserMistake: the family cannot be decoded in slots, or not compiled; names the row and the first differing
            token.
    """
    bundle = bundle.to(backbone.model.device)
    rows = list(_golden(backbone))
    gates = [place % 2 == 1 for place in range(len(rows))]
    decoder = SlotDecoder(backbone, _SLOTS).through(compiled)
    answers = decoder.decode(bundle, [request for _, request in rows], gates, look=False)
    for (name, request), gate, answer in zip(rows, gates, answers, strict=True):
        if answer.flaw is not None:
            raise UserMistake(f"the start-up self-test cannot decode row `{name}`: {answer.flaw.message}")
        gate_N = torch.tensor([gate], device=bundle.head.down.device)
        wanted = decode(backbone, [request.prompt], _TOKENS, bundle.head, gate_N)[0]
        found = _first_difference(answer, wanted)
        if found and not _tied(
            backbone, bundle, request.prompt.extended(list(answer.ids[: found[0]])), gate_N, found
        ):
            place, ours, theirs = found
            raise UserMistake(
                f"model family {backbone.model.config.model_type} cannot be decoded in slots: row `{name}` differs "
                f"from plain generate at token {place + 1} ({_shown(backbone, ours)} instead of "
                f"{_shown(backbone, theirs)}): set {'compile=false' if compiled else 'engine=static'}"
            )


def _golden(backbone: Backbone) -> Iterator[tuple[str, Request]]:
    picture = BytesIO()
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(picture, "PNG")
    items = [
        Item("short text", "Hi"),
        Item("long text", "Please tell me what you know about the sea. " * 3),
        Item("picture with text", "What is in the picture?", (picture.getvalue(),)),
        Item("text", "Write a sentence about bread."),
    ]
    for item in items:
        try:
            yield item.item_id, Request(backbone.encode(item), _TOKENS)
        except BadItem:  # a family without pictures
            continue


def _first_difference(answer: Answer, wanted: Answer) -> tuple[int, int, int] | None:
    """Place, our token, theirs."""
    ours, theirs = ([*each.ids, *[_END] * (each.finish_reason == "stop")] for each in (answer, wanted))
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next(((place, one, other) for place, (one, other) in pairs if one != other), None)


@torch.inference_mode()
def _tied(backbone: Backbone, bundle: Bundle, said: Prompt, gate_N: Tensor, found: tuple[int, int, int]) -> bool:
    """Whether plain logits after `said` tell the two tokens apart by no more than rounding in the model's dtype."""
    place, *tokens = found
    edited_N = gate_N if bundle.head.tokens is None else gate_N & (place < bundle.head.tokens)
    with steered(backbone.head, bundle.head, edited_N):
        logits_V = backbone.model(**backbone.collate([said])).logits[0, -1].float()
    one, other = (logits_V[list(stop_ids(backbone)) if token == _END else [token]].max() for token in tokens)
    # Between one unit in the last place, which no two batch shapes agree on, and its square root.
    tolerance = torch.finfo(backbone.model.dtype).eps ** 0.75
    return bool((one - other).abs() <= tolerance * torch.maximum(one.abs(), other.abs()))


def _shown(backbone: Backbone, token: int) -> str:
    return "the end" if token == _END else repr(backbone.tokenizer.decode([token]))
