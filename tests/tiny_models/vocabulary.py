"""Offline tokenizers in the three shapes that the families use, trained on a few sentences."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "how do I make a cake at home", "what is in the picture", "sorry, I can't", "user assistant model\n",
    "USER: User: ASSISTANT: Assistant: compare the two pictures\n\n",
]  # fmt: skip
PAD, STOP, START = "<pad>", "<stop>", "<s>"


def tokenizer(shape: str, control: Sequence[str], template: str, **names: Any) -> PreTrainedTokenizerFast:
    """`bytes` (GPT-2's), `llama` (SentencePiece, a space before the text) or `gemma` (SentencePiece, none).

    The SentencePiece shapes write `<s>` before every prompt, as the originals do. `control` get the ids after the
    padding, stop and start tokens, in order; `names` are further named tokens, such as `image_token`.
    """
    backend = Tokenizer.from_str(_trained(shape, tuple(control)))
    if shape != "bytes":
        backend.post_processor = processors.TemplateProcessing(f"{START} $A", special_tokens=[(START, 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=STOP, bos_token=None if shape == "bytes" else START,
        unk_token=None if shape == "bytes" else "<unk>", chat_template=template, padding_side="left",
        extra_special_tokens=names,
    )  # fmt: skip


@cache
def _trained(shape: str, control: tuple[str, ...]) -> str:
    special = [PAD, STOP, START, *control]
    backend = Tokenizer(models.BPE())
    _dress(backend, shape)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if shape == "bytes" else []
    backend.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    )
    if shape != "bytes":
        backend = _with_byte_fallback(backend, shape)
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    backend.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    return backend.to_str()


def _dress(backend: Tokenizer, shape: str) -> None:
    if shape == "bytes":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    elif shape == "llama":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = normalizers.Replace(" ", "▁")
    if shape != "bytes":
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _with_byte_fallback(trained: Tokenizer, shape: str) -> Tokenizer:
    """The same merges; characters that were not seen become bytes."""
    import json

    state = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = dict(state["vocab"])
    for piece in ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]:
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [tuple(merge) for merge in state["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    _dress(backend, shape)
    return backend
